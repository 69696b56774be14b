"""The images that train are built and train as a pod does: without network, compiler or root."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.artifact import Artifact
from tests.conftest import MakeStep
from tests.image_bills import check_bill
from tests.image_builds import image, manifest_of, run, runs, shared, size_bytes, volumes
from tests.test_training_step import SMALL, tokenizer_of, tokens_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MAX_BYTES = {
    "train-cpu": 1_600_000_000,
    "train-gpu": 5_700_000_000,
    "train-tpu": 2_100_000_000,
}
MEMORY = "4g"


@pytest.fixture(scope="module", params=MAX_BYTES)
def target(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    runs("runc", image(found))
    return found


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Artifact]:
    tokenizer = tokenizer_of(tmp_path / "tokenizer")
    return {"tokens": tokens_of(tmp_path / "tokens", tokenizer), "tokenizer": tokenizer}


def in_image(target: str, script: str, *options: str) -> str:
    done = run(image(target), ["sh", "-c", script], memory=MEMORY, options=options)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


def training(inputs: dict[str, Artifact], out: Path, start: str) -> tuple[str, list[str]]:
    """A script that trains, by a program that takes the step's arguments, and its volumes."""
    folders = {name: Path(artifact.storage.uri) for name, artifact in inputs.items()}
    settings = {f"model.{name}": value for name, value in SMALL["model"].items()}
    settings |= {name: value for name, value in SMALL.items() if name != "model"}
    arguments = " ".join(f"--{n.replace('_', '-')} {v}" for n, v in settings.items())
    places = "--tokens /tokens --tokenizer /tokenizer --output /out/model --data-root /out/data"
    return f"{start} {places} {arguments}", volumes(**folders, out=shared(out))


def train_in(
    target: str, inputs: dict[str, Artifact], out: Path, start: str, *options: str
) -> dict[str, Any]:
    """The manifest of a training in an image."""
    script, mounts = training(inputs, out, start)
    in_image(target, script, *mounts, *options)
    return manifest_of(out / "model")


def test_an_image_trains_to_the_digest_of_outside(
    target: str, inputs: dict[str, Artifact], make_step: MakeStep, tmp_path: Path
) -> None:
    """The same wheels give the same bits; torch's build with CUDA has kernels of its own."""
    config, start, options = (
        dict(SMALL),
        "codekiln training --threads 1",
        ["--env=OMP_NUM_THREADS=1"],
    )
    if target == "train-tpu":
        config["backend"] = "jax"
        start += " --backend jax"
        options = ["--env=JAX_PLATFORMS=cpu"]
    expected = make_step("training", inputs, **config).artifact.manifest
    found = train_in(target, inputs, tmp_path / "out", start, *options)
    assert found["key"] == expected.key
    assert found["measures"]["bits_per_byte"] < 0.9 * found["measures"]["bits_per_byte_untrained"]
    if target == "train-cpu":
        assert found["digest"] == expected.digest
    bits = pytest.approx(expected.measures["bits_per_byte"], rel=1e-4)
    assert found["measures"]["bits_per_byte"] == bits


def test_an_image_is_unprivileged_and_holds_no_compiler(
    target: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    script = (
        "id -u; touch /x 2>/dev/null || echo refused; codekiln --help | head -n 1;"
        "for name in gcc g++ clang c++ pip pip3; do command -v $name || true; done;"
        "find / -xdev \\( -name cc1 -o -name cc1plus -o -perm /6000 -type f \\) 2>/dev/null || true"
    )
    uid, refused, help_line, *left = in_image(target, script).splitlines()
    assert (uid, refused, left) == ("65532", "refused", [])
    assert help_line.startswith("codekiln: ")
    size = size_bytes(image(target))
    record_testsuite_property(f"bytes of the image {target}", size)
    assert size < MAX_BYTES[target]


@pytest.mark.parametrize("target", ["train-cpu"], indirect=True)
def test_the_processors_image_says_that_it_compiles_nothing(
    target: str, inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    start = "codekiln training --compile-model true"
    script, mounts = training(inputs, tmp_path / "out", start)
    said = in_image(target, f"{script} 2>&1 || true", *mounts)
    assert "expected a C++ compiler for compile_model on a processor" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("target", ["train-cpu", "train-gpu"], indirect=True)
def test_torchrun_starts_two_processes(
    target: str, inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    """The command of the runtimes in k8s/runtimes, on one machine."""
    start = "torchrun --standalone --nproc-per-node 2 --no-python codekiln training"
    found = train_in(target, inputs, tmp_path / "out", start, "--env=OMP_NUM_THREADS=1")
    measures = found["measures"]
    assert measures["bits_per_byte"] < 0.9 * measures["bits_per_byte_untrained"]


TRITON = """
import json, os, sys
import torch, triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.driver import CudaUtils
from triton.compiler import ASTSource
from triton.runtime.build import compile_module_from_src

@triton.jit
def add_one(source, target, size: tl.constexpr):
    at = tl.arange(0, size)
    tl.store(target + at, tl.load(source + at) + 1)

sys.setdlopenflags(os.RTLD_LAZY)
launches = bool(CudaUtils().launch)
kinds = {"source": "*fp32", "target": "*fp32", "size": "constexpr"}
kernel = ASTSource(add_one, kinds, {"size": 64})
binary = triton.compile(kernel, target=GPUTarget("cuda", 90, 32)).asm["cubin"]
try:
    other = compile_module_from_src("int x;", "x").__name__
except Exception as error:
    other = type(error).__name__
print(json.dumps([torch.version.cuda, launches, len(binary), other]))
"""


@pytest.mark.parametrize("target", ["train-gpu"], indirect=True)
def test_what_torch_compiles_for_a_gpu_needs_no_compiler(target: str) -> None:
    """No GPU is here: a library in the driver's place is loaded and never called."""
    script = (
        "mkdir /tmp/driver && cp /lib/*/libutil.so.1 /tmp/driver/libcuda.so.1"
        " && cat > /tmp/kernel.py && LD_LIBRARY_PATH=/tmp/driver python /tmp/kernel.py"
    )
    done = run(image(target), ["sh", "-c", script], memory=MEMORY, given=TRITON.encode())
    said = done.stderr.decode()
    assert done.returncode == 0, said[-2000:]
    cuda, launches, binary_bytes, other = json.loads(done.stdout)
    assert (cuda.split(".")[0], launches, other) == ("13", True, "CalledProcessError")
    assert binary_bytes > 1000
    assert "there is no compiler in the image" in said


@pytest.mark.parametrize("target", ["train-gpu"], indirect=True)
def test_the_gpu_image_finds_a_driver_that_the_device_plugin_mounts(
    target: str, tmp_path: Path
) -> None:
    """GKE mounts it at /usr/local/nvidia; torch and Triton find it by the loader's path."""
    folder = tmp_path / "nvidia"
    (folder / "lib64").mkdir(parents=True)
    out = shared(tmp_path / "out")
    in_image(target, "cp /lib/*/libutil.so.1 /out/libcuda.so.1", *volumes(out=out))
    (out / "libcuda.so.1").rename(folder / "lib64" / "libcuda.so.1")
    script = "python -c \"import ctypes; ctypes.CDLL('libcuda.so.1')\" && echo found"
    assert in_image(target, script, "--volume", f"{folder}:/usr/local/nvidia:ro") == "found\n"


@pytest.mark.parametrize("target", ["train-tpu"], indirect=True)
def test_the_tpu_image_has_jax_and_the_library_of_tpus(target: str) -> None:
    script = "import jax, libtpu, os; print(os.path.getsize(libtpu.get_library_path()))"
    assert int(in_image(target, f'JAX_PLATFORMS=cpu python -c "{script}"')) > 10**8


def test_the_bill_of_materials_names_what_the_lock_names(target: str, tmp_path: Path) -> None:
    check_bill(target, image(target), tmp_path)
