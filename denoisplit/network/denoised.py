"""HDN(+)muSplit: a splitter of denoised images."""

from __future__ import annotations

from denoisplit.network.context import ContextVSE


class DenoisedVSE(ContextVSE):
    """muSplit trained on denoised images (paper, section on baselines).

    Whole frames are denoised first, because context reaches further than a patch. For prediction
    ``denoiser`` is set to the `Denoiser` of the superposed input: then both networks are one
    module, on one device and in one mode. Training sees the splitter alone.
    """

    needs_denoised_input = True
