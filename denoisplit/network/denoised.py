"""HDN(+)muSplit: a splitter of denoised images, and the denoiser that its input goes through."""

from __future__ import annotations

from typing import Any

from denoisplit.network.context import ContextVSE
from denoisplit.network.vse import VSE


class DenoisedVSE(ContextVSE):
    """muSplit trained on denoised images (paper, section on baselines).

    What it is given has to be denoised before, a whole frame at a time: context reaches further
    than a patch. `behind` says by what; then the two are one module, on one device and in one mode.
    Until then it is the splitter alone, which is what is trained.

    Parameters
    ----------
    structures : int
    **settings
        See `ContextVSE`.
    """

    def __init__(self, structures: int = 2, **settings: Any) -> None:
        super().__init__(structures, **settings)
        self.denoiser: VSE | None = None
        self.denoiser_samples = self.denoiser_tile = self.denoiser_halo = 0

    def behind(self, denoiser: VSE, *, samples: int, tile: int, halo: int) -> None:
        """Put a denoiser before it.

        Parameters
        ----------
        denoiser : VSE
            Of one structure: the mixed input; raw intensities in and out.
        samples : int
            Posterior samples whose mean is split.
        tile, halo : int
            How frames are cut for the denoiser, px.
        """
        self.denoiser = denoiser
        self.denoiser_samples, self.denoiser_tile, self.denoiser_halo = samples, tile, halo
