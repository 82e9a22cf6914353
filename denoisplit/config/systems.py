"""The systems of the paper: one network and objective, set up differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

DataTerm = Literal["noise models", "gaussian"]


@dataclass(frozen=True)
class System:
    """Properties of a system; its settings are in `denoisplit.config.presets`."""

    title: str
    reference: str  # of the network
    data_term: DataTerm
    structures: int | None = None  # the only number that it supports; None: any
    context: bool = False  # may use further input planes
    denoised: bool = False  # splits images that other networks have denoised

    @property
    def noise_models(self) -> bool:
        """Whether the data term needs a noise model of each structure."""
        return self.data_term == "noise models"

    @property
    def log_variance(self) -> bool:
        """Whether the network also predicts a log-variance of each structure."""
        return self.data_term == "gaussian"


PAPER = "Ashesh and Jug 2024"

SYSTEMS = {
    "denoisplit": System("denoiSplit", f"denoiSplit, {PAPER}", "noise models"),
    "altered_musplit": System("Altered muSplit", f"Altered muSplit, {PAPER}", "gaussian"),
    "musplit": System("muSplit", "muSplit, Ashesh et al. 2023", "gaussian", context=True),
    "hdn": System("HDN", "HDN, Prakash et al. 2021", "noise models", structures=1),
    "hdn_musplit": System(
        "HDN(+)muSplit",
        f"HDN, Prakash et al. 2021, then muSplit, {PAPER}",
        "gaussian",
        context=True,
        denoised=True,
    ),
}
SPLITTING = tuple(name for name, system in SYSTEMS.items() if system.structures is None)


def options_for(system: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of `denoisplit.train` without those that a system does not take."""
    return {k: v for k, v in options.items() if k != "denoiser" or SYSTEMS[system].denoised}
