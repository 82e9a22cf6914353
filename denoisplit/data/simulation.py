"""Simulated fluorescence images, for demonstrations and tests without a download.

These are **simulated** images and must be labelled so wherever they are shown: they look like
microscopy, but they support no claim about real data. `simulate` returns clean expected intensities
of one structure, and `camera` turns them into noisy camera counts. Frame i depends on the seed, the
kind and i only, not on the number of frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

PSF_SIGMA = 1.2  # px, near what a well-sampled confocal or SIM image shows
HAZE_SIGMA = 12.0  # px, light from out of focus
HAZE_WEIGHT = 0.15  # share of the light that is out of focus
TOP_PERCENTILE = 99.8
MIN_SIDE = 16

Image = NDArray[np.float64]

# separates the random streams of `simulate` and `camera` for the same seed
_CAMERA = zlib.crc32(b"camera")


def simulate(
    kind: str, *, frames: int, size: int, seed: int, peak: float = 120.0, background: float = 10.0
) -> NDArray[np.float32]:
    """Return clean frames (N, Y, X) of one structure: expected intensities in raw units.

    Parameters
    ----------
    kind : str
        A key of `KINDS`: "filaments" (like microtubules), "mesh" (like the endoplasmic
        reticulum) or "puncta" (like clathrin-coated pits).
    frames, size : int
        Number of frames, and their side in px (16 or more).
    seed : int
        Not negative.
    peak, background : float
        Raw intensity of the 99.8 percentile of every frame above the background, and of the
        background itself, which is the least value.

    Raises
    ------
    ValueError
        When the kind is unknown or a number is out of range.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown simulated structure {kind!r}; choose from {sorted(KINDS)}")
    if frames < 1 or size < MIN_SIDE:
        raise ValueError(
            f"cannot simulate {frames} frames of {size} px; at least 1 frame of {MIN_SIDE} px"
        )
    if seed < 0 or peak <= 0 or background < 0:
        raise ValueError(
            f"the peak must be positive ({peak:g}), seed ({seed}) and background ({background:g}) "
            "not negative"
        )
    stack = np.empty((frames, size, size), dtype=np.float32)
    for i in range(frames):
        rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), i])
        light = KINDS[kind](rng, size)
        while not light.any():  # a small frame may fall into a hole of the mesh
            light = KINDS[kind](rng, size)
        image = _through_microscope(light)
        stack[i] = background + peak * image / np.percentile(image, TOP_PERCENTILE)
    return stack


def camera(
    clean: NDArray[Any], *, gain: float, read_noise: float, offset: float, seed: int
) -> NDArray[np.uint16]:
    """Record clean frames with a simulated camera, (N, Y, X) -> counts (N, Y, X).

    ``counts = offset + gain * Poisson(clean / gain) + Normal(0, read_noise^2)``, rounded and
    clipped to 0 .. 65535. So the mean is ``clean + offset`` and the variance
    ``gain * clean + read_noise^2`` (plus 1/12 from rounding), as in a real camera.

    Parameters
    ----------
    clean : ndarray, (N, Y, X)
        Expected intensities in counts without the offset, not negative.
    gain, read_noise, offset : float
        Counts per photo-electron, standard deviation of the read-out in counts, and counts of a
        pixel without light.
    seed : int
        Not negative; the noise of frame i depends on the seed and i only. Recordings that must
        be independent need different seeds.

    Raises
    ------
    ValueError
        When the shape is not (N, Y, X) or a number is out of range.
    """
    if clean.ndim != 3 or clean.size == 0 or not np.isfinite(clean).all() or clean.min() < 0:
        raise ValueError(
            f"clean has shape {clean.shape}; it must be (N, Y, X) with finite intensities, none of "
            "them negative"
        )
    if gain <= 0 or read_noise < 0 or seed < 0:
        raise ValueError(
            f"the gain must be positive ({gain:g}), read_noise ({read_noise:g}) and seed ({seed}) "
            "not negative"
        )
    counts = np.empty(clean.shape, dtype=np.uint16)
    for i, frame in enumerate(clean):
        rng = np.random.default_rng([seed, _CAMERA, i])
        photons = rng.poisson(frame.astype(np.float64) / gain)
        signal = offset + gain * photons + rng.normal(0.0, read_noise, frame.shape)
        counts[i] = np.clip(np.rint(signal), 0, np.iinfo(np.uint16).max)
    return counts


def _filaments(rng: np.random.Generator, size: int) -> Image:
    """Draw smooth curved lines of equal width: persistent random walks, both ways from a centre."""
    n = max(3, round(45 * (size / 256) ** 2))
    steps, pace = 260, 0.5  # each half is up to 130 px long
    middle = rng.uniform(0, size, (n, 1, 2))
    heading = rng.uniform(0, np.pi, (n, 1))
    halves = []
    for turn in (0.0, np.pi):
        # the curvature wanders too, so that the line bends without kinks
        curvature = np.cumsum(rng.normal(0, 0.0012, (n, steps)), axis=1)
        curvature += rng.normal(0, 0.004, (n, 1))
        angle = heading + turn + np.cumsum(curvature * pace, axis=1)
        path = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
        halves.append(middle + pace * np.cumsum(path, axis=1))
    points = np.stack(halves)  # (2, n, steps, 2)
    alive = np.arange(steps) < rng.uniform(0.3, 1.0, (2, n, 1)) * steps
    weight = alive * rng.lognormal(0, 0.3, (n, 1))  # (2, n, steps)
    return _splat(points, weight, size)


def _mesh(rng: np.random.Generator, size: int) -> Image:
    """Draw a network of thin tubules of varying density: wavy edges of a Voronoi diagram."""
    from scipy.ndimage import gaussian_filter, zoom
    from scipy.spatial import Voronoi

    margin, spacing = 24, 13
    side = size + 2 * margin
    n = round((side / spacing) ** 2)
    # each cell is the one of three candidates at which a smooth random field is highest
    # (smooth over 28 px, so a quarter of the resolution suffices)
    coarse = gaussian_filter(rng.normal(size=(side // 4 + 1, side // 4 + 1)), 7)
    field = zoom(coarse, 4, order=1)[:side, :side]
    candidates = rng.uniform(0, side, (n, 3, 2))
    height = field[candidates[..., 0].astype(int), candidates[..., 1].astype(int)]
    height += rng.normal(0, field.std(), height.shape)
    cells = candidates[np.arange(n), height.argmax(axis=1)]
    graph = Voronoi(cells)
    ends = np.array([ridge for ridge in graph.ridge_vertices if -1 not in ridge])
    ends = ends[rng.random(len(ends)) < 0.88]
    start, stop = graph.vertices[ends[:, 0]], graph.vertices[ends[:, 1]]
    length = np.linalg.norm(stop - start, axis=1)
    short = length < 4 * spacing  # drops the long edges around the rim
    start, stop, length = start[short], stop[short], length[short, None]

    t = np.linspace(0, 1, 32)
    along = (stop - start)[:, None, :]
    bend = rng.normal(0, 0.10, length.shape) * np.sin(np.pi * t)
    bend += rng.normal(0, 0.05, length.shape) * np.sin(2 * np.pi * t)
    across = along[..., ::-1] * np.array([1.0, -1.0])
    points = start[:, None, :] + along * t[:, None] + across * bend[..., None]
    weight = np.broadcast_to(length / t.size * rng.lognormal(0, 0.25, length.shape), bend.shape)
    tubules = _splat(points - margin, weight, size)
    # sheets: the widest crests of the field are filled faintly
    crest = field[margin:-margin, margin:-margin] / field.std()
    image: Image = tubules * (1 + 0.25 * np.clip(crest, -2, 2)) + 0.12 * np.clip(crest - 0.8, 0, 1)
    return image


def _puncta(rng: np.random.Generator, size: int) -> Image:
    """Draw spots and small rings of varying brightness and size, some of them in clusters."""
    n = max(6, round(260 * (size / 256) ** 2))
    centres = rng.uniform(0, size, (n, 1, 2))
    follows = rng.random(n) < 0.35
    leader = centres[rng.integers(0, max(1, n // 12), n)]
    centres[follows] = leader[follows] + rng.normal(0, 9.0, (n, 1, 2))[follows]
    # each spot is a ring of points; the PSF blurs the smallest into one spot
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    radius = np.clip(rng.gamma(3.0, 0.4, (n, 1, 1)), 0.2, 2.8)
    ring = np.stack([np.sin(turn), np.cos(turn)], axis=-1)
    weight = np.broadcast_to(rng.lognormal(0, 0.55, (n, 1)), (n, turn.size))
    return _splat(centres + radius * ring, weight, size)


# kind of structure -> function that draws its light sources, (Y, X), any unit
KINDS: Mapping[str, Callable[[np.random.Generator, int], Image]] = MappingProxyType(
    {"filaments": _filaments, "mesh": _mesh, "puncta": _puncta}
)


def _splat(points: Image, weight: Image, size: int) -> Image:
    """Add points (..., 2) in (y, x) to an image, each distributed over its four nearest pixels."""
    # a rim of one pixel receives the share outside the frame of points near the border
    inside = np.all((points > -1) & (points < size), axis=-1)
    weight, points = weight[inside], points[inside] + 1
    corner = points.astype(np.int64)
    (fy, fx), side = (points - corner).T, size + 2
    first = corner[:, 0] * side + corner[:, 1]
    index = np.concatenate([first, first + 1, first + side, first + side + 1])
    shares = [(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx]
    light = np.zeros(side**2)
    light += np.bincount(index, np.concatenate([weight * s for s in shares]), minlength=side**2)
    return light.reshape(side, side)[1:-1, 1:-1]


def _through_microscope(light: Image) -> Image:
    """Blur by the point-spread function and add out-of-focus haze."""
    from scipy.ndimage import gaussian_filter

    sharp, haze = (gaussian_filter(light, sigma) for sigma in (PSF_SIGMA, HAZE_SIGMA))
    image: Image = (1 - HAZE_WEIGHT) * sharp + HAZE_WEIGHT * haze
    return image
