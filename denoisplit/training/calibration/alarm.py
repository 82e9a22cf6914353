"""Fit the alarm of a run: what tiles like those of the training look like, and what others would.

Frames are changed in known ways (blurred, one structure missing, or one replaced by another from
elsewhere), given fresh noise, and split. The directions in which their statistics move are those
that the alarm watches. Limits are set by cross-validation over frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from denoisplit.data.statistics import noise_std
from denoisplit.data.summed_crops import Sums
from denoisplit.data.superposition import Superposition
from denoisplit.images.tiling import middle
from denoisplit.jobs.alarm import BEFORE, BLURRED, STRUCTURE, UNLIKE, Alarm, averaged
from denoisplit.jobs.tile_statistics import SIDE, Array, Flat, Units, tile_statistics, tiles_of
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.progress import bar

MOST_FRAMES = 20
CROP = 320  # px, of larger frames
NODES = 33  # signals at which the variance of a noise model is stored
DEFOCUS = 3.0  # px, standard deviation of the blur that stands for images out of focus
BACKGROUND = 0.05  # quantile of a structure that is its background
SHRINKAGE = 0.3  # of covariances of statistics, towards their diagonals
FOLDS = 4
RARE = 0.01  # share of tiles like those of the training that are beyond the limits
MARGIN = 1.2  # on limits, because other fields of view differ more than frames of one
BRIGHT_MARGIN = 1.5  # on those of brightness, of which few frames show the full range
LEAST_LIMIT = 2.0  # standard deviations
IMAGE_STDS = 3.0  # standard deviations between frames that the mean score of an image may reach

Frames = list[tuple[Array, Array]]  # x (Y, X), its decoded means (C, Y, X)


@dataclass(frozen=True)
class _Tiles:
    """Tiles of the frames of one kind."""

    x: list[Array]  # (N, SIDE, SIDE)
    means: list[Array]  # (N, C, SIDE, SIDE)
    shapes: list[tuple[int, int]]  # rows and columns
    statistics: list[Flat]  # (N, F)


def fit_alarm(
    network: VSE,
    observed: Sequence[Array],
    superposition: Superposition,
    noise_models: Sequence[GaussianMixture],
    *,
    tile: int,
    halo: int,
    seed: int,
    sums: Sums | None = None,
    decoded: Sequence[Array] | None = None,
) -> Alarm | None:
    """Fit the alarm to frames of training and validation.

    Parameters
    ----------
    network : VSE
        Ready to predict.
    observed : sequence of array (C, Y, X)
        Structures with the noise of the training, raw intensity; the first `MOST_FRAMES` are used.
    superposition : Superposition
    noise_models : sequence of GaussianMixture
        One per structure; without them the noise is taken to be the same everywhere.
    tile, halo : int
        See `denoisplit.prediction.frame.predict_frame`.
    seed : int
        Random seed of the noise of changed frames.
    sums : Sums, optional
        Sums of pixels and crops that the training used; images like these raise no alarm.
    decoded : sequence of array (C, Y, X), optional
        Decoded means of the frames, where they are at hand.

    Returns
    -------
    Alarm or None
        None if no frame is as large as a tile.
    """
    random = np.random.default_rng((seed, 6))
    used = [j for j, y in enumerate(observed) if min(y.shape[-2:]) >= SIDE][:MOST_FRAMES]
    if not used:
        return None
    frames = [observed[j][:, *middle(observed[j].shape[-2:], CROP)] for j in used]
    inputs = [superposition(y) for y in frames]
    summed = [] if sums is None else [superposition(y) for y in _summed(frames, sums)]
    ways = 2 + 2 * network.structures * (network.structures > 1)
    passes = len(frames) * (decoded is None) + len(summed) + len(frames) * ways
    model, sampling = inference_form(network), Sampling(0, seed, True)
    with bar("fitting the alarm", passes) as progress:
        done = 0

        def split(xs: Sequence[Array]) -> Frames:
            nonlocal done
            pairs = []
            for x in xs:
                pairs.append((x, predict_frame(model, x, sampling, tile=tile, halo=halo).mean))
                done += 1
                progress.to(done)
            return pairs

        if decoded is None:
            plain = split(inputs)
        else:
            means = (decoded[j][:, *middle(decoded[j].shape[-2:], CROP)] for j in used)
            plain = list(zip(inputs, means, strict=True))
        changed_means = [pair[1] for pair in plain]
        plain += split(summed)
        units = _units(network, superposition, noise_models, inputs + summed)
        changes = {
            name: split([_noisy(m, units, random) for m in changed])
            for name, changed in _changed(changed_means, random).items()
        }
    return alarm_of(superposition.kind, units, plain, changes)


def alarm_of(kind: str, units: Units, plain: Frames, changes: Mapping[str, Frames]) -> Alarm:
    """Fit the alarm to split frames.

    Parameters
    ----------
    kind : {"sum", "mean"}
        Superposition.
    units : Units
    plain : list of (array (Y, X), array (C, Y, X))
        Frames like those of the training, and their decoded means.
    changes : mapping of str to such a list
        The first ``len`` of them as predicted and given fresh noise, under the name "", and changed
        in known ways.
    """
    tiles = _tiles(plain, units)
    changed = {name: _tiles(frames, units) for name, frames in changes.items()}
    count = len(plain)
    folds = min(FOLDS, count)
    scores: list[Flat] = []
    for fold in range(folds):
        held = [j for j in range(count) if j % folds == fold]
        fitted_to = [j for j in range(count) if j % folds != fold] or held
        alarm = _fitted(kind, units, plain, tiles, changed, fitted_to)
        scores += [_normal_scores(alarm, tiles, j) for j in held]
    every = np.concatenate([s.reshape(-1, s.shape[-1]) for s in scores])
    limits = np.maximum(np.quantile(every, 1 - RARE / 2, axis=0), LEAST_LIMIT)
    limits[2:4] *= BRIGHT_MARGIN
    limits *= max(1.0, float(np.quantile((every / limits).max(axis=1), 1 - RARE))) * MARGIN
    per_frame = np.stack([s.mean(axis=(0, 1)) for s in scores])
    image_limits = per_frame.mean(axis=0) + IMAGE_STDS * per_frame.std(axis=0)
    image_limits = np.maximum(image_limits, per_frame.max(axis=0))
    image_limits[2:4] *= BRIGHT_MARGIN
    whole = _fitted(kind, units, plain, tiles, changed, range(count))
    return replace(whole, limits=limits, image_limits=np.clip(image_limits, limits / 10, limits))


def _fitted(
    kind: str,
    units: Units,
    plain: Frames,
    tiles: _Tiles,
    changed: Mapping[str, _Tiles],
    chosen: Sequence[int],
) -> Alarm:
    """Fit all but the limits to some of the frames."""
    statistics = np.concatenate([tiles.statistics[j] for j in chosen])
    centre, spread = statistics.mean(axis=0), statistics.std(axis=0) + 1e-6

    def normal(of: _Tiles) -> Flat:
        rows = [of.statistics[j] for j in chosen if j < len(of.statistics)]
        normalised: Flat = (np.concatenate(rows or of.statistics) - centre) / spread
        return normalised

    usual, renoised = _covariance((statistics - centre) / spread), normal(changed[""])
    names, directions = [], []
    for name, of in changed.items():
        if name:
            other = normal(of)
            within = (usual + _covariance(renoised) + _covariance(other)) / 3
            directions.append(np.linalg.solve(within, other.mean(axis=0) - renoised.mean(axis=0)))
            names.append(BLURRED if name == BLURRED else STRUCTURE)
    x = np.concatenate([plain[j][0].ravel() for j in chosen])
    signal = np.concatenate([units.recombined(plain[j][1]).ravel() for j in chosen])
    background = float(np.quantile(signal, BACKGROUND))
    scores = len(BEFORE) + len(names) + 1
    alarm = Alarm(
        kind,
        (*BEFORE, *names, UNLIKE),
        units,
        background,
        max(float(x.mean()) - background, 1e-6),
        centre,
        spread,
        np.array(directions),
        np.asarray(np.linalg.inv(usual), dtype=np.float64),
        np.zeros(scores),
        np.ones(scores),
        np.ones(scores),
        np.ones(scores),
    )
    raw = [_normal_scores(alarm, tiles, j).reshape(-1, scores) for j in chosen]
    every = np.concatenate(raw)
    return replace(alarm, score_centre=every.mean(axis=0), score_spread=every.std(axis=0) + 1e-6)


def _normal_scores(alarm: Alarm, tiles: _Tiles, j: int) -> Flat:
    """Return the scores of a frame, averaged and in standard deviations, (rows, columns, K)."""
    raw, _, _ = alarm.raw_scores(tiles.x[j], tiles.means[j], tiles.statistics[j])
    scores = averaged(raw.reshape(*tiles.shapes[j], -1)) - alarm.score_centre
    normalised: Flat = scores / alarm.score_spread
    return normalised


def _tiles(frames: Frames, units: Units) -> _Tiles:
    cut = [tiles_of(np.concatenate((x[None], means))) for x, means in frames]
    parts = [(tiles[:, 0], tiles[:, 1:], shape) for tiles, shape in cut]
    xs, means, shapes = (list(part) for part in zip(*parts, strict=True))
    pairs = zip(xs, means, strict=True)
    return _Tiles(xs, means, shapes, [tile_statistics(x, m, units) for x, m in pairs])


def _covariance(values: Flat) -> Flat:
    """Return a covariance that is shrunk towards its diagonal, and never singular."""
    deviations = values - values.mean(axis=0)
    covariance = deviations.T @ deviations / max(len(values) - 1, 1)  # a single tile has none
    diagonal = np.diag(np.diag(covariance) + 1e-6)
    shrunk: Flat = (1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal
    return shrunk


def _changed(means: Sequence[Array], random: np.random.Generator) -> dict[str, list[Array]]:
    """Return split frames (C, Y, X) as they are, and changed in known ways, by name."""
    from scipy.ndimage import gaussian_filter

    changed = {
        "": list(means),
        BLURRED: [gaussian_filter(m, (0, DEFOCUS, DEFOCUS)) for m in means],
    }
    structures = len(means[0])
    backgrounds = [
        float(np.quantile(np.concatenate([m[k].ravel() for m in means]), BACKGROUND))
        for k in range(structures)
    ]
    excess = [
        max(float(np.mean([m[k].mean() for m in means])) - backgrounds[k], 1e-6)
        for k in range(structures)
    ]
    for k in range(structures if structures > 1 else 0):
        other = (k + 1) % structures
        missing, replaced = [], []
        for m in means:
            missing.append(m.copy())
            missing[-1][k] = backgrounds[k]
            source = means[int(random.integers(len(means)))][other]
            turned = np.maximum(source[::-1, ::-1] - backgrounds[other], 0)
            turned = np.resize(turned, m.shape[1:]) if turned.shape != m.shape[1:] else turned
            replaced.append(m.copy())
            size = excess[k] * np.exp(random.normal(0, 0.3))
            size /= max(float(turned.mean()), 0.05 * excess[other])
            replaced[-1][k] = backgrounds[k] + size * turned
        changed[f"{k} missing"], changed[f"{k} replaced"] = missing, replaced
    return changed


def _noisy(means: Array, units: Units, random: np.random.Generator) -> Array:
    """Superpose structures and add noise."""
    noise = random.standard_normal(means.shape[1:]) * np.sqrt(units.noise_variance(means))
    return (units.recombined(means) + noise).astype(np.float32)


def _summed(frames: Sequence[Array], sums: Sums) -> list[Array]:
    """Return binned and stacked frames like those of the training."""
    summed: list[Array] = []
    structures = range(len(frames[0]))
    for number, y in enumerate(frames):
        side = min(y.shape[1:]) // 2 * 2
        binned = None
        if sums.binned and side >= 2 * SIDE:
            binned = sums.of_pixels([y[k, :side, :side] for k in structures], structures)
        if binned is not None:
            summed.append(np.stack(binned))
        other = frames[(number + 1) % len(frames)]
        if sums.stacked and other.shape == y.shape:
            summed.append(np.stack([sums.of_places(y[k], other[k], k) for k in structures]))
    return summed


def _units(
    network: VSE,
    superposition: Superposition,
    noise_models: Sequence[GaussianMixture],
    inputs: Sequence[Array],
) -> Units:
    structures = network.structures
    means, stds = (
        value.double().cpu().numpy() for value in (network.target_mean, network.target_std)
    )
    signals, variances = [], []
    for model in noise_models:
        low, high = model.min_signal.item(), model.max_signal.item()
        signal = torch.linspace(low, high, NODES, device=model.weight.device)
        signals.append(signal.double().cpu().numpy())
        variances.append(model.variance(signal).detach().double().cpu().numpy())
    if not noise_models:
        noise = float(np.median([noise_std(x) for x in inputs])) or 1e-3
        share = noise**2 / (structures * superposition.scale**2)
        signals, variances = [np.array([0.0, 1.0])] * structures, [np.full(2, share)] * structures
    tables = np.array(signals), np.array(variances)
    return Units(superposition.scale, superposition.shift, *tables, means, stds)
