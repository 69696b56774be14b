"""What training will take and cost, before it starts: floating-point operations over a price table.

Six operations a parameter and token, forward and backward (Kaplan et al. 2020, arXiv 2001.08361).
The other steps of a recipe are small beside training; docs/scale.md reckons them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts.errors import ConfigError
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
    """
    device = prices[execution.accelerator or "cpu"]
    count = execution.accelerators or device.get("per_machine", 0) or execution.threads or 1
    tokens = config.max_steps * config.gradient_accumulation * config.tokens_per_pass
    operations = OPERATIONS_PER_PARAMETER * count_parameters(config.model) * tokens
    hours = operations / (SHARE_OF_PEAK * device["peak_flops"] * count) / 3600
    share = prices["spot_share"] if execution.spot else 1.0
    return Estimate(
        hours=hours,
        usd=hours * count * device["usd_per_hour"] * share,
        devices=count,
        unit=device["unit"],
        basis=f"{prices['source']}, {prices['date']}",
    )


def read_prices(path: Path = PRICES_FILE) -> dict[str, Any]:
    """Read a price table.

    Raises:
        ConfigError: it cannot be read, or lacks a device of the table that codekiln has.
    """
    try:
        prices: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"expected a price table for --prices, got {str(path)!r} ({type(error).__name__}): "
            f"copy {PRICES_FILE.name} of the package pipelines and change its figures"
        ) from None
    missing = json.loads(PRICES_FILE.read_text()).keys() - prices.keys()
    if missing:
        raise ConfigError(
            f"expected {min(missing)!r} in the price table {str(path)!r}, found none: add it"
        )
    return prices
