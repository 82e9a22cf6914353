"""Addressed standard normal noise: each value of eps is a pure function of its address.

The address is the key of the latent pixel, the level, channel, draw and seed. The key comes from
the pixel's place in the frame, or from the raw image content around it (for packages, whose graph
does not know where a tile lies). Only integer products below 2^62, modulo, floor division and one
table look-up are used, so that values are identical in every runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn

PRIME = 2**31 - 1
TABLE_BITS = 16
# multipliers below 2^30, drawn once; any odd large numbers without structure would do
ROUND_A, ROUND_B, ROUND_C = 784_553_149, 910_374_517, 668_265_263
NEIGHBOUR = (
    (402_653_189, 805_306_457, 201_326_611),
    (100_663_319, 1_000_000_007, 50_331_653),
    (998_244_353, 754_974_721, 167_772_161),
)
CACHED = 2**17  # values drawn at a time, few enough for the cache of a CPU
ORIGIN = 2**20  # keeps places above and left of the frame (reflected halos) positive


@lru_cache(maxsize=1)
def normal_table() -> Tensor:
    """Return 65 536 normal quantiles of equal probability, mean 0 and std 1, float32."""
    n = 2**TABLE_BITS
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse((i + 0.5) / n) for i in range(n // 2, n)])
    upper /= np.sqrt((upper**2).mean())
    return torch.from_numpy(np.concatenate((-upper[::-1], upper)).astype(np.float32))


def _round(h: Tensor, multiplier: int) -> Tensor:
    """Mix [0, PRIME) once; adding the high bits to the low ones makes it non-linear."""
    return ((h + torch.div(h, 2**15, rounding_mode="floor")) * multiplier) % PRIME


def mix(h: Tensor, value: Tensor | int) -> Tensor:
    """Absorb a value in [0, 2^31) into hashes in [0, PRIME).

    The fifth power permutes the residues of this prime (5 does not divide PRIME - 1) and removes
    the order of neighbouring values, which rounds alone would leave.
    """
    h = _round((h + value) % PRIME, ROUND_A)
    square = h * h % PRIME
    return _round(square * square % PRIME * h % PRIME, ROUND_B)


def channel_keys(seed: int, draw: int, level: int, channels: int) -> Tensor:
    """Return one key per latent channel from seed, draw and level, (Z,) int64 in [1, PRIME)."""
    h = torch.zeros(1, dtype=torch.int64)
    for value in (seed, draw, level):
        h = mix(h, value)
    return 1 + mix(h, torch.arange(channels)) % (PRIME - 1)


def position_keys(level: int, y: int, x: int, height: int, width: int) -> Tensor:
    """Return keys (h, w) of latent pixels by place in the frame; (y, x) is that of the first."""
    start = mix(torch.zeros(1, dtype=torch.int64), level)
    rows = mix(start, torch.arange(y + ORIGIN, y + ORIGIN + height))
    columns = torch.arange(x + ORIGIN, x + ORIGIN + width)
    return 1 + mix(rows[:, None], columns) % (PRIME - 1)


class ContentKeys(nn.Module):
    """Keys of latent pixels by image content.

    The quantised intensities of each cell, a square as wide as the total stride, are hashed. The
    hash is joined with those of the eight neighbours and with the place inside the cell: flat or
    saturated cells differ as long as something within 1.5 strides does.

    Constants are buffers, so that a traced graph names no device. Cells are summed modulo PRIME,
    which changes no key: onnxruntime sums int64 in float64, which is exact below 2^53 only.

    Parameters
    ----------
    levels : int
        L; the total stride is ``2 ** levels``.
    quantum : float
        Step of quantisation, raw units: a power of two well below the std of the noise.
    """

    weights: Tensor  # (S, 1, S) of the pixels of a cell; S is the total stride

    def __init__(self, levels: int, quantum: float) -> None:
        super().__init__()
        self.stride = 2**levels
        self.quantum = quantum
        zero = torch.zeros(1, dtype=torch.int64)
        weights = mix(zero, torch.arange(self.stride**2)) % 2**22
        self.register_buffer(
            "weights", weights.reshape(self.stride, 1, self.stride), persistent=False
        )
        self.sides = [self.stride >> (level + 1) for level in range(levels)]  # latents of a cell
        for level, n in enumerate(self.sides):
            place = mix(zero, torch.arange(n * n) + (level << 16))
            self.register_buffer(f"place_{level}", place.reshape(n, 1, n), persistent=False)

    def forward(self, raw: Tensor) -> list[Tensor]:
        """Map raw images (B, Y, X), sides multiples of the stride, to keys (B, h_i, w_i)."""
        batch, height, width = raw.shape
        rows, columns = height // self.stride, width // self.stride
        q = torch.floor(raw / self.quantum).to(torch.int64) % PRIME
        cells = q.reshape(batch, rows, self.stride, columns, self.stride)
        h = mix((cells * self.weights % PRIME).sum(dim=(2, 4)) % PRIME, 0)

        padded = nn.functional.pad(h, (1, 1, 1, 1))
        joined = 0 * h
        for dy, row in enumerate(NEIGHBOUR):
            for dx, multiplier in enumerate(row):
                part = padded[:, dy : dy + rows, dx : dx + columns]
                joined = (joined + part * multiplier) % PRIME

        keys = []
        for level, n in enumerate(self.sides):
            inside = mix(joined[:, :, None, :, None], self.get_buffer(f"place_{level}"))
            keys.append(1 + inside.reshape(batch, rows * n, columns * n) % (PRIME - 1))
        return keys


def content_keys(raw: Tensor, *, levels: int, quantum: float) -> list[Tensor]:
    """Return keys of latent pixels by content, (B, Y, X) -> (B, h_i, w_i); see `ContentKeys`."""
    keys: list[Tensor] = ContentKeys(levels, quantum).to(raw.device)(raw)
    return keys


def standard_normal(keys: Tensor, channels: Tensor, table: Tensor) -> Tensor:
    """Return eps (..., Z, h, w), float32, from pixel keys (..., h, w) and channel keys (Z,)."""
    h = (keys[..., None, :, :] * channels[:, None, None]) % PRIME
    h = _round(h, ROUND_C)
    return table[torch.div(h, 2 ** (31 - TABLE_BITS), rounding_mode="floor")]


def _drawn(keys: Tensor, channels: Tensor, table: Tensor) -> Tensor:
    """Return `standard_normal` of (h, w) keys as (h, w, Z), in place: not for traced graphs."""
    eps = torch.empty(*keys.shape, len(channels), device=keys.device)
    rows = keys.shape[0] if keys.is_cuda else max(1, CACHED // (keys.shape[1] * len(channels)))
    for part, into in zip(keys.split(rows), eps.split(rows), strict=True):
        h = part[..., None] * channels
        h %= PRIME
        h += h >> 15
        h *= ROUND_C
        h %= PRIME
        h >>= 31 - TABLE_BITS
        torch.index_select(table, 0, h.flatten().int(), out=into.view(-1))
    return eps


def addressed_noise(
    keys: Sequence[Tensor],
    samples: Sequence[int],
    *,
    seed: int,
    channels: int,
    antithetic: bool,
    table: Tensor,
) -> list[Tensor]:
    """Return eps of K posterior samples at every level, (K, Z, h_i, w_i), level 0 first.

    Parameters
    ----------
    keys : sequence of Tensor (h_i, w_i)
        Keys of the latent pixels, level 0 first.
    samples : sequence of int
        Numbers of the samples. Antithetic samples 2j and 2j + 1 are eps and -eps of draw j.

    Returns
    -------
    list of Tensor
        In channels-last memory format.
    """
    draws = [s // 2 if antithetic else s for s in samples]
    signs = [-1.0 if antithetic and s % 2 else 1.0 for s in samples]
    noise = []
    for level, key in enumerate(keys):
        drawn = {
            d: _drawn(
                key, channel_keys(seed, d, level, channels).to(key.device), table.to(key.device)
            )
            for d in dict.fromkeys(draws)
        }
        stacked = torch.stack([sign * drawn[d] for d, sign in zip(draws, signs, strict=True)])
        noise.append(stacked.permute(0, 3, 1, 2))
    return noise
