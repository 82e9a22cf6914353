"""The network of the method: torch modules without training. Loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from denoisplit.network.context import ContextVSE as ContextVSE
    from denoisplit.network.decoder import Gaussian as Gaussian
    from denoisplit.network.decoder import Latent as Latent
    from denoisplit.network.denoised import DenoisedVSE as DenoisedVSE
    from denoisplit.network.vse import VSE as VSE
    from denoisplit.network.vse import Decoded as Decoded
    from denoisplit.network.vse import Denoiser as Denoiser

_MODULES = {
    "VSE": "vse",
    "ContextVSE": "context",
    "Decoded": "vse",
    "DenoisedVSE": "denoised",
    "Denoiser": "vse",
    "Gaussian": "decoder",
    "Latent": "decoder",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
