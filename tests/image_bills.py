"""Bills of materials of built images, held against the locks that the images were built from."""

import json
import re
import subprocess
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

from tests.image_builds import ROOT, cannot, run

FEWEST_PINS = 30
TORCH = {"train-cpu": "torch==2.13.0"}
"""What a target holds beside its lock: torch's CPU build, from an index of its own."""


def locked(target: str, python: str) -> dict[str, str]:
    """Name and version of every package that a lock has for a Python of Linux, `3.11.2`."""
    environment = {
        **default_environment(),
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
    }
    text = (ROOT / "images" / "locks" / f"{target}.txt").read_text()
    text += TORCH.get(target, "")
    pins = {}
    for line in re.findall(r"^[A-Za-z0-9].*$", text, re.MULTILINE):
        pin = Requirement(line.rstrip("\\ "))
        if pin.marker is None or pin.marker.evaluate(environment):
            pins[spelled(pin.name)] = str(pin.specifier).removeprefix("==")
    return pins


def spelled(name: str) -> str:
    """A package's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def missing(wanted: dict[str, str], bill: Path) -> list[str]:
    """The pins that a bill in SPDX does not name."""
    packages = json.loads(bill.read_text())["packages"]
    listed = {(spelled(p["name"]), p.get("versionInfo", "").split("+")[0]) for p in packages}
    return [f"{n}=={v}" for n, v in wanted.items() if (n, v.split("+")[0]) not in listed]


def check_bill(target: str, name: str, folder: Path) -> None:
    """Make the bill of an image as `make sbom` does; every package of the lock stands in it."""
    if not (ROOT / ".venv" / "bin" / "syft").exists():
        cannot("syft is not installed")
    command = ["sh", "images/sbom.sh", str(folder), target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = run(name, ["python3", "-c", "import platform; print(platform.python_version())"])
    pins = locked(target, said.stdout.decode().strip())
    assert len(pins) > FEWEST_PINS
    bill = folder / f"{target}.spdx.json"
    assert missing(pins, bill) == []
    assert missing({"not-there": "1.0"}, bill), "a bill that names everything names nothing"
