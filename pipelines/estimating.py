"""What training will take and cost, before it starts: floating-point operations over a price table.

Devices and their peaks are those of `components/cluster/accelerators.py`.
Six operations a parameter and token, forward and backward (Kaplan et al. 2020, arXiv 2001.08361).
The other steps of a recipe are small beside training; docs/scale.md reckons them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts.errors import ConfigError
from components.cluster.accelerators import CPU, accelerator_names, machines_of
from components.model.names import count_parameters
from components.stage.execution import Execution
from components.training.config import TrainingConfig

PRICES_FILE = Path(__file__).with_name("prices.json")

OPERATIONS_PER_PARAMETER = 6

SHARE_OF_PEAK = 0.3
"""Of a device's peak that training keeps busy: assumed, below the 0.45 that is aimed at for 125M
parameters on one GPU."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What training takes."""

    hours: float
    usd: float
    devices: int
    unit: str
    """What a device is called."""

    basis: str
    """Where prices are from, in words."""

    def __str__(self) -> str:
        return (
            f"training about {self.hours:.2g} h on {self.devices} {self.unit}"
            f"{'s' * (self.devices != 1)}, about {self.usd:.2g} USD; prices: {self.basis}"
        )


def estimate_training(
    config: TrainingConfig, execution: Execution, prices: Mapping[str, Any]
) -> Estimate:
    """Reckon the time and cost of training.

    Args:
        config: model and tokens.
        execution: which devices and how many.
        prices: as `read_prices` gives them.

    Raises:
        ConfigError: no machines have that number of accelerators.
    """
    machines = machines_of(execution.accelerator, execution.accelerators, execution.threads)
    count = machines.num_devices
    tokens = config.max_steps * config.gradient_accumulation * config.tokens_per_pass
    operations = OPERATIONS_PER_PARAMETER * count_parameters(config.model) * tokens
    hours = operations / (SHARE_OF_PEAK * machines.peak_flops * count) / 3600
    share = prices["spot_share"] if execution.spot else 1.0
    return Estimate(
        hours=hours,
        usd=hours * count * prices["usd_per_hour"][execution.accelerator or CPU] * share,
        devices=count,
        unit=machines.unit,
        basis=f"{prices['source']}, {prices['date']}",
    )


def read_prices(path: Path = PRICES_FILE) -> dict[str, Any]:
    """Read a price table.

    Raises:
        ConfigError: it cannot be read, lacks a device of `components/cluster/accelerators.py`, or
            names one that is not there.
    """
    try:
        prices: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"expected a price table for --prices, got {str(path)!r} ({type(error).__name__}): "
            f"copy {PRICES_FILE.name} of the package pipelines and change its figures"
        ) from None
    _check_prices(prices, path)
    return prices


def _check_prices(prices: Any, path: Path) -> None:
    """Refuse a table that does not go with that of the hardware."""
    for name in ("source", "date", "spot_share", "usd_per_hour"):
        if name not in prices:
            raise ConfigError(
                f"expected {name!r} in the price table {str(path)!r}, found none: add it"
            )
    devices, held = {CPU, *accelerator_names()}, {*prices["usd_per_hour"]}
    if missing := devices - held:
        raise ConfigError(
            f"expected {min(missing)!r} under usd_per_hour in the price table {str(path)!r}, found "
            "none: add it"
        )
    if unknown := held - devices:
        raise ConfigError(
            f"expected {', '.join(sorted(devices))} under usd_per_hour in the price table "
            f"{str(path)!r}, got {min(unknown)!r} too: take it out"
        )
