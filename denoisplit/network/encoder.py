"""Bottom-up half: image -> one feature map per level."""

from __future__ import annotations

from torch import Tensor, nn

from denoisplit.network.blocks import Down, ResBlock, Sizes


def first_block(filters: int, dropout: float, kernel: int) -> nn.Sequential:
    """Return a convolution and an ungated block, (B, 1, Y, X) -> (B, F, Y, X)."""
    return nn.Sequential(
        nn.Conv2d(1, filters, kernel, padding=kernel // 2),
        nn.ELU(inplace=True),
        ResBlock(filters, dropout, gated=False),
    )


class Encoder(nn.Module):
    """Bottom-up pass of the ladder.

    ``first`` works at full size; every level then halves the side. Level 0 is the finest.
    """

    def __init__(self, sizes: Sizes, first_kernel: int = 3) -> None:
        super().__init__()
        filters, dropout = sizes.filters, sizes.dropout
        self.first = first_block(filters, dropout, first_kernel)
        self.levels = nn.ModuleList(
            nn.Sequential(
                Down(filters, dropout),
                *(ResBlock(filters, dropout) for _ in range(sizes.blocks - 1)),
            )
            for _ in range(sizes.levels)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 1, Y, X) to features [(B, F, Y/2, X/2), ..., (B, F, Y/2^L, X/2^L)]."""
        h = self.first(x)
        features = []
        for level in self.levels:
            h = level(h)
            features.append(h)
        return features
