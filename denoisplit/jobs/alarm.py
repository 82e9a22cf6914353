"""Alarm: tells which tiles of a split image are unlike the training data, and in what.

A tile has scores: how far it is from the tiles of the training in one direction of its statistics,
such as noise, brightness or sharpness, in units of the limit for that direction. The score of a
tile is averaged with its neighbours, since an unsuitable image is so in many of them. Where no
direction explains it, the tile is only called "unlike the training data".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.images import ImageFile, open_image
from denoisplit.images.tiling import tile_frame
from denoisplit.jobs.tile_statistics import (
    SIDE,
    Array,
    Flat,
    Units,
    noise_excess,
    tile_statistics,
    tiles_of,
)
from denoisplit.progress import logger

NOISIER, LESS_NOISY, BRIGHTER, DARKER = "noisier", "less noisy", "brighter", "darker"
BLURRED, STRUCTURE, UNLIKE = "out of focus", "another structure", "unlike the training data"
MEAN, SUM = "a mean in place of a sum", "a sum in place of a mean"
NOISE = (NOISIER, LESS_NOISY)
BEFORE = (*NOISE, BRIGHTER, DARKER)  # the scores before those of directions, in this order
WARNED_SHARE = 0.05  # of the tiles of an image
WARNED_TILES = 2
SQUARE = 1024  # px, part of a plane that is judged at once
MOST_SQUARES = 64  # of one image; in a larger one they are spread evenly
NAMED_SHARE = 0.6  # of the largest score: other directions with at least this are named too
SUPERPOSITION_MARGIN = 1.25  # on the noise that a mean in place of a sum has


@dataclass(frozen=True)
class Tiles:
    """Judged tiles of one image or frame, in rows and columns.

    Attributes
    ----------
    scores : array (rows, columns)
        Largest score of each tile; 1 is the limit.
    unlike : array of bool (rows, columns)
        Tiles beyond the limit.
    each : array (rows, columns, K)
        All scores.
    noise : array (rows, columns)
        Noise variance over the expected one.
    brightness : array (rows, columns)
        Mean intensity of the input over that of the training, after subtraction of the background.
    """

    scores: Flat
    unlike: npt.NDArray[np.bool_]
    each: Flat
    noise: Flat
    brightness: Flat


@dataclass(frozen=True)
class Alarm:
    """Reference distribution of tiles like those of the training.

    Attributes
    ----------
    kind : {"sum", "mean"}
        Superposition of the training.
    names : tuple of str
        What each score says of a tile; the first four are `BEFORE`.
    units : Units
    background, brightness : float
        Of the input: intensity without structures, and usual mean above it.
    centre, spread : array (F,)
        Of the statistics of tiles.
    directions : array (D, F)
        Weights of normalised statistics; the scores after those of `BEFORE`.
    precision : array (F, F)
        Inverse covariance of normalised statistics, for the last score.
    score_centre, score_spread, limits : array (K,)
        Of the scores, averaged over neighbours, with K = 5 + D.
    image_limits : array (K,)
        Of the mean score of an image.
    """

    kind: str
    names: tuple[str, ...]
    units: Units
    background: float
    brightness: float
    centre: Flat
    spread: Flat
    directions: Flat
    precision: Flat
    score_centre: Flat
    score_spread: Flat
    limits: Flat
    image_limits: Flat

    def judge(self, x: Array, means: Array) -> Tiles:
        """Judge the tiles of a frame.

        Parameters
        ----------
        x : array (Y, X)
            Input, raw intensity.
        means : array (C, Y, X)
            Its split, raw intensity.
        """
        tiles, shape = tiles_of(np.concatenate((x[None], means)))
        if not len(tiles):
            empty = np.empty(shape)
            return Tiles(
                empty, empty.astype(bool), np.empty((*shape, len(self.names))), empty, empty
            )
        raw, noise, brightness = self.raw_scores(tiles[:, 0], tiles[:, 1:])
        each = averaged(raw.reshape(*shape, -1))
        each = (each - self.score_centre) / self.score_spread / self.limits
        scores = each.max(axis=-1)
        return Tiles(scores, scores > 1, each, noise.reshape(shape), brightness.reshape(shape))

    def raw_scores(
        self, x: Array, means: Array, statistics: Flat | None = None
    ) -> tuple[Flat, Flat, Flat]:
        """Return scores (N, K), relative noise variance and brightness (N,) of tiles.

        The scores are not averaged over neighbours yet. Statistics (N, F) that are at hand are not
        computed again.
        """
        noise = noise_excess(x, means, self.units)
        brightness = (x.mean(axis=(-2, -1)) - self.background) / self.brightness
        if statistics is None:
            statistics = tile_statistics(x, means, self.units)
        statistics = (statistics - self.centre) / self.spread
        distance = np.einsum("ni,ij,nj->n", statistics, self.precision, statistics)
        raw = np.stack([noise, -noise, brightness, -brightness], axis=1)
        directed = statistics @ self.directions.T
        far = np.sqrt(np.maximum(distance, 0) / statistics.shape[1])[:, None]
        return np.concatenate((raw, directed, far), axis=1), np.exp(noise), brightness

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts, for a file."""
        values = {**_fields(self), **_fields(self.units)}
        del values["units"]
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in values.items()
        }

    def summary(self, tiles: Sequence[Tiles]) -> dict[str, Any]:
        """Summarise the judged tiles of one image: their share that is unlike, and what is.

        Returns
        -------
        dict
            ``tiles``, their number; ``unlike``, share of them; ``alarm``, whether the image as a
            whole is unlike the training data; ``what``, in words; ``noise`` and ``brightness``
            relative to the training; None for an image without tiles.
        """
        each = np.concatenate(
            [np.empty((0, len(self.names))), *(t.each.reshape(-1, len(self.names)) for t in tiles)]
        )
        count = len(each)
        record: dict[str, Any] = {"tiles": count, "unlike": None, "alarm": False, "what": []}
        if not count:
            return record | {"noise": None, "brightness": None}
        noise = float(np.median(np.concatenate([t.noise.ravel() for t in tiles])))
        brightness = float(np.mean(np.concatenate([t.brightness.ravel() for t in tiles])))
        unlike = each.max(axis=1) > 1
        whole = each.mean(axis=0) * self.limits / self.image_limits
        share = float(unlike.mean())
        enough = unlike.sum() >= WARNED_TILES and share > WARNED_SHARE
        record |= {"unlike": round(share, 4), "alarm": bool(enough or whole.max() > 1)}
        if record["alarm"]:
            seen = each[unlike].mean(axis=0) if enough else whole
            record["what"] = self._named(seen, noise, brightness)
        return record | {"noise": round(noise, 3), "brightness": round(brightness, 3)}

    def _named(self, scores: Flat, noise: float, brightness: float) -> list[str]:
        """Name what is unlike, from the mean scores of the tiles that are."""
        above = {
            name: max(float(s) for n, s in zip(self.names, scores, strict=True) if n == name)
            for name in self.names
        }
        structures, sign = len(self.units.means), 1 if self.kind == "mean" else -1
        # a mean of C images has 1 / C to 1 / C^2 of the variance of their sum, and 1 / C of its
        # brightness; an average of several recordings has the brightness of one
        change = sign * math.log(noise) / math.log(structures) if structures > 1 else 0.0
        margin = math.log(SUPERPOSITION_MARGIN) / math.log(max(structures, 2))
        scaled = structures ** (sign / 2)
        moved = brightness > scaled if sign > 0 else brightness < scaled
        if above[NOISIER] > 1 or above[LESS_NOISY] > 1:
            # every other statistic depends on the noise
            if 1 - margin <= change <= 2 + margin and moved:
                return [SUM if sign > 0 else MEAN]
            return [name for name in BEFORE if above[name] > 1]
        known = {name: score for name, score in above.items() if name != UNLIKE}
        # a blur hides a structure, and another structure may be smoother: only the clearer is named
        if BLURRED in known and STRUCTURE in known:
            del known[min(BLURRED, STRUCTURE, key=lambda name: known[name])]
        named = [n for n, s in known.items() if s > 1 and s >= NAMED_SHARE * max(known.values())]
        return named if named and above[UNLIKE] < 2 * max(known.values()) else [UNLIKE]


def averaged(scores: Flat) -> Flat:
    """Average scores (rows, columns, K) over each tile and its up to eight neighbours."""
    from scipy.ndimage import uniform_filter

    smooth: Flat = uniform_filter(scores, (3, 3, 0), mode="nearest")
    return smooth


def judge_image(
    alarm: Alarm, source: ImageFile, split: Path, decode: Callable[[Array], Array] | None = None
) -> dict[str, Any]:
    """Judge an image that has been split, from its files, square by square.

    All of an image of up to `MOST_SQUARES` squares is judged, of a larger one that many of them.

    Parameters
    ----------
    source : ImageFile
    split : Path
        Split of the image, with one channel per structure.
    decode : callable, optional
        Returns the decoded means (C, Y, X) of a part (Y, X), for a split that is the mean of
        samples: it has other statistics than the decoded means that the alarm knows.
    """
    image, result = open_image(source), open_image(split)
    outer: dict[str, int] = {d: image.sizes[d] for d in ("t", "z") if d in image.sizes}
    cores = tile_frame(image.sizes["y"], image.sizes["x"], tile=SQUARE, stride=SIDE)
    places = math.prod(outer.values()) * len(cores)
    tiles = []
    for place in np.unique(
        np.linspace(0, places - 1, min(places, MOST_SQUARES)).round().astype(int)
    ):
        number, core = int(place) // len(cores), cores[int(place) % len(cores)]
        at = np.unravel_index(number, tuple(outer.values())) if outer else ()
        index = {dim: int(n) for dim, n in zip(outer, at, strict=True)}
        spans = np.s_[core.y : core.y + core.height, core.x : core.x + core.width]
        x = np.asarray(image.plane(index)[spans], dtype=np.float32)
        if decode is not None:
            means = decode(x)
        else:
            structures = range(len(alarm.units.means))
            planes = [result.plane({**index, "c": k})[spans] for k in structures]
            means = np.stack(planes).astype(np.float32)
        tiles.append(alarm.judge(x, means))
    return {"file": str(source), **alarm.summary(tiles)}


def warn_of_alarm(record: dict[str, Any], where: object) -> None:
    """Name an image in a warning if its record, as of `Alarm.summary`, says that it is unlike."""
    if record["alarm"]:
        what = "".join(f": {name}" for name in [", ".join(record["what"])] if name != UNLIKE)
        share = 100 * record["unlike"]
        text = "%s: input unlike the training data%s (%.0f %% of tiles)"
        logger.warning(text, where, what, share)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}
