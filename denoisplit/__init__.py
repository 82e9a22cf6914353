"""denoiSplit: split one noisy fluorescence image into its structures (Ashesh and Jug, 2024)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module that holds it; loaded on first use, so that importing denoisplit is cheap
_LAZY = {
    "InputError": "errors",
}

__all__ = ["__version__", *_LAZY]

if TYPE_CHECKING:
    from denoisplit.errors import InputError as InputError


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'denoisplit' has no attribute {name!r}")
    return getattr(import_module(f"denoisplit.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
