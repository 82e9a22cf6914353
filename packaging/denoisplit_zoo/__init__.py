"""Model packages for bioimage.io: export, check and import of trained runs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# public name -> module that holds it; loaded on first use
_LAZY = {
    "About": "exporting.about",
    "check": "checking.check",
    "export": "exporting.export",
    "import_package": "importing.package",
    "import_weights": "importing.weights",
}

__all__ = ["About", "check", "export", "import_package", "import_weights"]

if TYPE_CHECKING:
    from denoisplit_zoo.checking.check import check as check
    from denoisplit_zoo.exporting.about import About as About
    from denoisplit_zoo.exporting.export import export as export
    from denoisplit_zoo.importing.package import import_package as import_package
    from denoisplit_zoo.importing.weights import import_weights as import_weights


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'denoisplit_zoo' has no attribute {name!r}")
    return getattr(import_module(f"denoisplit_zoo.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
