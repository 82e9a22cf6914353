"""The systems of the paper: one network and objective, set up differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class System:
    """What sets a system apart, beside its settings (`denoisplit.config.presets`)."""

    title: str
    reference: str  # of the network
    noise_models: bool  # in the data term; else a Gaussian whose log-variance is predicted
    structures: int | None = None  # the only number that it takes
    context: bool = False  # may have further input planes
    denoised: bool = False  # takes images that other networks have denoised


PAPER = "Ashesh and Jug 2024"

SYSTEMS = {
    "denoisplit": System("denoiSplit", f"denoiSplit, {PAPER}", noise_models=True),
    "altered_musplit": System("Altered muSplit", f"Altered muSplit, {PAPER}", noise_models=False),
    "musplit": System("muSplit", "muSplit, Ashesh et al. 2023", noise_models=False, context=True),
    "hdn": System("HDN", "HDN, Prakash et al. 2021", noise_models=True, structures=1),
    "hdn_musplit": System(
        "HDN(+)muSplit",
        f"HDN, Prakash et al. 2021, then muSplit, {PAPER}",
        noise_models=False,
        context=True,
        denoised=True,
    ),
}
SPLITTING = tuple(name for name, system in SYSTEMS.items() if system.structures is None)


def options_for(system: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of `denoisplit.train` without those that a system does not take."""
    return {k: v for k, v in options.items() if k != "denoiser" or SYSTEMS[system].denoised}
