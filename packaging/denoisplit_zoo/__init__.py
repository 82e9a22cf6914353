"""Turns a run folder of ``denoisplit`` into a bioimage.io resource."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# public name -> module that holds it; loaded on first use
_LAZY = {
    "About": "about",
    "check": "checking",
    "export": "package",
    "import_package": "importing",
    "import_weights": "foreign",
}

__all__ = ["About", "check", "export", "import_package", "import_weights"]

if TYPE_CHECKING:
    from denoisplit_zoo.about import About as About
    from denoisplit_zoo.checking import check as check
    from denoisplit_zoo.foreign import import_weights as import_weights
    from denoisplit_zoo.importing import import_package as import_package
    from denoisplit_zoo.package import export as export


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'denoisplit_zoo' has no attribute {name!r}")
    return getattr(import_module(f"denoisplit_zoo.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
