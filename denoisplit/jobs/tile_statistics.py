"""Statistics of the tiles of a split image, by which unusual images are recognised.

They describe the residual (does the recombined split explain the input under the noise models?),
the noise level, the brightness, and the detail of the input and of each structure. Energies are
compared on a log scale, which makes their ratios linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Flat = npt.NDArray[np.float64]

SIDE = 64  # px, of a tile
BANDS = ((1.0, 2.0), (2.0, 4.0), (4.0, 8.0))  # px, standard deviations of two blurs
RESIDUAL_BLURS = (1.0, 2.0, 4.0)  # px; what the split leaves in the residual shows after a blur
# energies of a structure without detail, in units of its variance: smaller ones are no different
FINE_FLOOR, FLOOR = 1e-4, 1e-3
NOISE_DRAWS = 200  # tiles of white noise by which filters are normalised


@dataclass(frozen=True)
class Units:
    """Superposition, noise and intensity scale of the training images; raw intensity.

    Attributes
    ----------
    scale, shift : float
        See `denoisplit.data.superposition.Superposition`.
    signals, variances : array (C, N)
        Rising signals of each structure, and the variance of the noise there.
    means, stds : array (C,)
        Statistics of the structures in the training data.
    """

    scale: float
    shift: float
    signals: Flat
    variances: Flat
    means: Flat
    stds: Flat

    def noise_variance(self, means: npt.NDArray[np.floating]) -> Flat:
        """Return the variance of the input's noise, (..., C, Y, X) -> (..., Y, X)."""
        parts = [
            np.interp(means[..., k, :, :], self.signals[k], self.variances[k])
            for k in range(len(self.signals))
        ]
        variance: Flat = self.scale**2 * np.sum(parts, axis=0)
        return variance

    def recombined(self, means: npt.NDArray[np.floating]) -> Flat:
        """Return the superposition of structures, (..., C, Y, X) -> (..., Y, X)."""
        total: Flat = self.scale * means.sum(axis=-3, dtype=np.float64) + self.shift
        return total


def noise_excess(x: Array, means: Array, units: Units) -> Flat:
    """Return the log of the noise variance over the one that is expected, (N,).

    By the median of second differences, so that structure counts little.
    """
    d = (x - units.recombined(means)) / np.sqrt(units.noise_variance(means))
    for axis in (-1, -2):
        d = np.diff(d, n=2, axis=axis)
    # a second difference in both directions has 36 times the variance of white noise
    spread = np.median(np.abs(d), axis=(-2, -1)) / (6 * 0.6745)
    return 2 * np.log(np.maximum(spread, 1e-6))


def tile_statistics(x: Array, means: Array, units: Units) -> Flat:
    """Return the statistics of tiles, (N, F).

    Parameters
    ----------
    x : array (N, SIDE, SIDE)
        Tiles of the input, raw intensity.
    means : array (N, C, SIDE, SIDE)
        Their split, raw intensity.
    units : Units
    """
    structures = means.shape[1]
    variance = units.noise_variance(means)
    residual = ((x - units.recombined(means)) / np.sqrt(variance)).astype(np.float32)
    normal = (means - units.means[:, None, None]) / units.stds[:, None, None]
    normal = normal.astype(np.float32)
    columns = [_mean(residual)]
    for blur in RESIDUAL_BLURS:
        energy = _mean(_blurred(residual, blur) ** 2) / _noise_gain(blur, None)
        columns.append(_log(energy, 1e-3))
    blurs = sorted({blur for band in BANDS for blur in band})
    inputs = {blur: _blurred(x, blur) for blur in blurs}
    splits = {blur: _blurred(normal, blur) for blur in blurs}
    finest = _mean((normal - splits[1.0]) ** 2)
    columns += [_log(finest[:, k], FINE_FLOOR) for k in range(structures)]
    columns += [normal[:, k].mean(axis=(-2, -1)) for k in range(structures)]
    for low, high in BANDS:
        noise = _mean(variance) * _noise_gain(low, high)
        columns.append(_log(_mean((inputs[low] - inputs[high]) ** 2) / noise, 1e-3))
        band = splits[low] - splits[high]
        floor = FINE_FLOOR if low == BANDS[0][0] else FLOOR
        energy = _mean(band**2)
        columns += [_log(energy[:, k], floor) for k in range(structures)]
        for k in range(structures):
            for other in range(k):
                product = _mean(band[:, k] * band[:, other])
                size = np.sqrt((energy[:, k] + 10 * floor) * (energy[:, other] + 10 * floor))
                columns.append(product / size)
    return np.stack(columns, axis=1)


def tiles_of(image: npt.NDArray[np.floating]) -> tuple[Array, tuple[int, int]]:
    """Cut an image (..., Y, X) into tiles that cover it, (N, ..., SIDE, SIDE); rows and columns.

    All are of the same size, so those of one row may overlap. An image that is smaller than a tile
    has none.
    """
    rows, columns = (tile_starts(side) for side in image.shape[-2:])
    tiles = [image[..., y : y + SIDE, x : x + SIDE] for y in rows for x in columns]
    whole = np.stack(tiles) if tiles else np.empty((0, *image.shape[:-2], SIDE, SIDE))
    return whole.astype(np.float32), (len(rows), len(columns))


def tile_starts(side: int) -> Sequence[int]:
    """Return the first pixels of the tiles along a side, px."""
    if side < SIDE:
        return []
    return [round(start) for start in np.linspace(0, side - SIDE, -(-side // SIDE))]


def _blurred(tiles: npt.NDArray[np.floating], blur: float) -> npt.NDArray[np.floating]:
    """Blur each tile by a Gaussian, reflected at its own border."""
    from scipy.ndimage import gaussian_filter

    values: npt.NDArray[np.floating] = gaussian_filter(
        tiles, blur, axes=(-2, -1), mode="reflect", truncate=3.0
    )
    return values


@cache
def _noise_gain(low: float, high: float | None) -> float:
    """Return the variance of white noise of variance 1 after a blur, or between two blurs."""
    noise = np.random.default_rng(0).standard_normal((NOISE_DRAWS, SIDE, SIDE))
    left = _blurred(noise, low) - (0 if high is None else _blurred(noise, high))
    return float((left**2).mean())


def _mean(values: npt.NDArray[np.floating]) -> Flat:
    means: Flat = values.mean(axis=(-2, -1), dtype=np.float64)
    return means


def _log(energy: Flat, floor: float) -> Flat:
    return np.log(energy + floor)
