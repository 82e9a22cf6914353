"""denoiSplit: split one noisy fluorescence image into its structures (Ashesh and Jug, 2024)."""

from __future__ import annotations

import random
from importlib import import_module
from typing import TYPE_CHECKING, Any

from denoisplit.version import __version__

# public name -> module that holds it; loaded on first use, so that importing denoisplit is cheap
_LAZY = {
    "InputError": "denoisplit.errors",
    "Run": "denoisplit.api",
    "SplitImage": "denoisplit.jobs.array",
    "calibrate": "denoisplit.api",
    "check": "denoisplit_zoo.checking.check",
    "compare": "denoisplit.commands.compare",
    "evaluate": "denoisplit.commands.evaluate",
    "export": "denoisplit_zoo.exporting.export",
    "figure": "denoisplit.reproduction.figure",
    "fit_noise_model": "denoisplit.commands.noise_model",
    "import_package": "denoisplit.api",
    "inspect": "denoisplit.inspection.inspect",
    "load": "denoisplit.api",
    "predict": "denoisplit.commands.predict",
    "predict_image": "denoisplit.jobs.array",
    "superpose": "denoisplit.commands.superpose",
    "train": "denoisplit.api",
}

__all__ = ["__version__", *_LAZY]

if TYPE_CHECKING:
    from denoisplit_zoo.checking.check import check as check
    from denoisplit_zoo.exporting.export import export as export

    from denoisplit.api import Run as Run
    from denoisplit.api import calibrate as calibrate
    from denoisplit.api import import_package as import_package
    from denoisplit.api import load as load
    from denoisplit.api import train as train
    from denoisplit.commands.compare import compare as compare
    from denoisplit.commands.evaluate import evaluate as evaluate
    from denoisplit.commands.noise_model import fit_noise_model as fit_noise_model
    from denoisplit.commands.predict import predict as predict
    from denoisplit.commands.superpose import superpose as superpose
    from denoisplit.errors import InputError as InputError
    from denoisplit.inspection.inspect import inspect as inspect
    from denoisplit.jobs.array import SplitImage as SplitImage
    from denoisplit.jobs.array import predict_image as predict_image
    from denoisplit.reproduction.figure import figure as figure


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'denoisplit' has no attribute {name!r}")
    before = random.getstate()
    try:
        return getattr(import_module(_LAZY[name]), name)
    finally:
        random.setstate(before)  # the import of Lightning draws numbers


def __dir__() -> list[str]:
    return sorted(__all__)
