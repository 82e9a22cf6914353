"""denoiSplit: split one noisy fluorescence image into its structures (Ashesh and Jug, 2024)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from denoisplit.version import __version__

# public name -> module that holds it; loaded on first use, so that importing denoisplit is cheap
_LAZY = {
    "InputError": "errors",
    "Run": "run",
    "Sampling": "prediction.sampling",
    "calibrate": "commands.calibrate",
    "compare": "commands.compare",
    "evaluate": "commands.evaluate",
    "figure": "reproduction.figure",
    "fit_noise_model": "commands.noise_model",
    "load": "run",
    "predict": "commands.predict",
    "predict_image": "jobs.array",
    "superpose": "commands.superpose",
    "train": "commands.train",
}

__all__ = ["__version__", *_LAZY]

if TYPE_CHECKING:
    from denoisplit.commands.calibrate import calibrate as calibrate
    from denoisplit.commands.compare import compare as compare
    from denoisplit.commands.evaluate import evaluate as evaluate
    from denoisplit.commands.noise_model import fit_noise_model as fit_noise_model
    from denoisplit.commands.predict import predict as predict
    from denoisplit.commands.superpose import superpose as superpose
    from denoisplit.commands.train import train as train
    from denoisplit.errors import InputError as InputError
    from denoisplit.jobs.array import predict_image as predict_image
    from denoisplit.prediction.sampling import Sampling as Sampling
    from denoisplit.reproduction.figure import figure as figure
    from denoisplit.run import Run as Run
    from denoisplit.run import load as load


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'denoisplit' has no attribute {name!r}")
    return getattr(import_module(f"denoisplit.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
