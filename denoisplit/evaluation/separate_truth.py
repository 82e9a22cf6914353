"""Truth from images of its own, such as long exposures: brought to the units of what is judged.

Another exposure has other grey levels. PSNR does not mind, but calibration, MS-SSIM and what is
left of the noise compare grey levels. So the truth gets one gain per structure and an offset, by
least squares over all pixels of all frames, from the recorded images alone: predictions have no
part in it, and their errors of brightness remain errors. Pixels at which a truth is saturated are
left out of the fit and of what is said about noise; in PSNR and calibration they count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from denoisplit.data.prepare import observe
from denoisplit.data.splits import Group, Image
from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.noise_models.saturation import Limits, limits_of

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

MOSTLY = 0.5  # share of the pixels that a recording has below its limit


@dataclass(frozen=True)
class LinearFit:
    """``image ~ sum_k gains[k] * truth_k + offset``.

    Attributes
    ----------
    gains : tuple of float
        Units of the image per unit of each truth.
    offset : float
        In the unit of the image.
    correlation : float
        Of the image and the fitted sum over all pixels; 1 without noise.
    """

    gains: tuple[float, ...]
    offset: float
    correlation: float


def unsaturated(truth: Group) -> list[Mask]:
    """Pixels [frame] (Y, X) at which no structure of the truth [structure][frame] is saturated.

    All of them where what lies below a limit is little, or of one value, as in a mask.
    """
    found = [np.ones(image.shape, dtype=bool) for image in truth[0]]
    for frames in truth:
        end = Limits(None, limits_of(frames).high)
        below = [end.inside(image) for image in frames]
        inner = np.concatenate([image[b] for image, b in zip(frames, below, strict=True)])
        if inner.size > MOSTLY * sum(b.size for b in below) and inner.min() < inner.max():
            found = [f & b for f, b in zip(found, below, strict=True)]
    return found


def linear_fit(
    truth: Group, images: Sequence[Image], where: Sequence[Mask] | None = None
) -> LinearFit:
    """Fit images by a weighted sum of truths, least squares over the pixels of all frames.

    Noise of the truth lowers the gains: by its share of the truth's variance.

    Parameters
    ----------
    truth : [structure][frame] of (Y, X)
        Any unit, no two structures proportional to each other.
    images : [frame] of (Y, X)
        Frames of the sizes of the truth's.
    where : [frame] of (Y, X), optional
        Pixels that count.

    Raises
    ------
    InputError
        If truths are of one value or depend on each other, so that the gains have no value.
    """
    where = where or [np.ones(image.shape, dtype=bool) for image in images]
    # frames as lists of the pixels that count
    variables = [[f[w] for f, w in zip(v, where, strict=True)] for v in (*truth, tuple(images))]
    pixels = max(1, sum(image.size for image in variables[-1]))
    means = np.array([sum(f.sum(dtype=np.float64) for f in v) / pixels for v in variables])
    products = np.zeros((len(variables), len(variables)))
    for frame in zip(*variables, strict=True):
        centred = np.stack([f.astype(np.float64) for f in frame]) - means[:, None]
        products += centred @ centred.T
    spread = np.sqrt(np.diag(products))
    if not spread.all():
        raise InputError(
            where="--truth",
            found="images of one value, saturated pixels aside",
            expected="images with structure",
            remedy="check the files",
        )
    correlations = products / np.outer(spread, spread)
    among, with_image = correlations[:-1, :-1], correlations[:-1, -1]
    if np.linalg.eigvalsh(among)[0] < 1e-6:
        raise InputError(
            where="--truth",
            found="images that are multiples or sums of each other",
            expected="an image of each structure alone",
            remedy="check the files",
        )
    slopes = np.linalg.solve(among, with_image)  # of unit variances
    gains = slopes * spread[-1] / spread[:-1]
    return LinearFit(
        gains=tuple(float(gain) for gain in gains),
        offset=float(means[-1] - gains @ means[:-1]),
        correlation=float(np.sqrt(max(slopes @ with_image, 0.0))),
    )


class RecordedFrames(EvaluationFrames):
    """Frames that carry their own noise, and a truth that was recorded apart and fitted to them.

    Parameters
    ----------
    truth : [structure][frame] of (Y, X)
        In the unit of the observed structures.
    observed : [structure][frame] of (Y, X)
        Empty where only the superposition was recorded.
    inputs : [frame] of (Y, X)
    fits : sequence of LinearFit
        How the truth was brought to its unit, one per structure.
    where : [frame] of (Y, X)
        Where no truth is saturated.
    """

    def __init__(
        self,
        truth: Sequence[Sequence[Array]],
        observed: Sequence[Sequence[Array]],
        inputs: Sequence[Array],
        superposition: Superposition,
        fits: Sequence[LinearFit],
        where: Sequence[Mask],
    ) -> None:
        self.truth = [np.stack(frame) for frame in zip(*truth, strict=True)]
        self.observed = [np.stack(frame) for frame in zip(*observed, strict=True)]
        self.inputs = list(inputs)
        self.clean_inputs = [superposition(frame) for frame in self.truth]
        self.has_truth = True
        self.fits = tuple(fits)
        self.unsaturated = list(where)


def scenes_of_structures(
    structures: Group, truth: Group, superposition: Superposition, *, clip: float | None = None
) -> RecordedFrames:
    """Superpose recorded structures; each truth is fitted to the recorded image of its structure.

    Parameters
    ----------
    structures, truth : [structure][frame] of (Y, X)
        The same fields; raw units and any unit.
    superposition : Superposition
    clip : float, optional
        Upper clip of the run, for both, in raw units.
    """
    recorded = SyntheticNoise(clip=clip)  # no noise, the clip alone
    observed = observe(structures, recorded, seed=0, part="evaluation")
    where = unsaturated(truth)
    fits = [linear_fit((t,), s, where) for t, s in zip(truth, structures, strict=True)]
    fitted = tuple(
        tuple(_line(image, fit.gains[0], fit.offset) for image in frames)
        for frames, fit in zip(truth, fits, strict=True)
    )
    fitted = observe(fitted, recorded, seed=0, part="evaluation")
    inputs = [superposition(frame) for frame in zip(*observed, strict=True)]
    return RecordedFrames(fitted, observed, inputs, superposition, fits, where)


def scenes_of_mixed(
    mixed: Sequence[Image], truth: Group, superposition: Superposition
) -> RecordedFrames:
    """Take recorded superpositions; the truths are fitted to them together.

    A superposition has one offset. Each structure gets the same share of it; see `share_offset`.

    Parameters
    ----------
    mixed : [frame] of (Y, X)
        Raw units, superposed as those of the run.
    truth : [structure][frame] of (Y, X)
        The same fields; any unit.
    superposition : Superposition
    """
    where = unsaturated(truth)
    fit = linear_fit(truth, mixed, where)
    scale, count = superposition.scale, len(truth)
    offset = (fit.offset - superposition.shift) / (scale * count)
    fitted = [
        [_line(image, gain / scale, offset) for image in frames]
        for frames, gain in zip(truth, fit.gains, strict=True)
    ]
    inputs = [image.astype(np.float32) for image in mixed]
    each = [LinearFit((gain,), fit.offset, fit.correlation) for gain in fit.gains]
    return RecordedFrames(fitted, (), inputs, superposition, each, where)


def share_offset(scenes: RecordedFrames, means: Sequence[Array]) -> None:
    """Share the offset of mixed images among the structures as predictions do; in place.

    How it is shared cannot be seen in a mixed image: a network knows it from its training. Every
    structure's mean error becomes the same, and the superposition of the truths stays what it is.

    Parameters
    ----------
    scenes : RecordedFrames
    means : [frame] of (C, Y, X)
        Predictions of the inputs.
    """
    pixels = sum(x.size for x in scenes.inputs)
    errors = [
        (p.astype(np.float64) - t).sum(axis=(1, 2))
        for p, t in zip(means, scenes.truth, strict=True)
    ]
    shift = np.sum(errors, axis=0) / pixels
    shift = (shift - shift.mean()).astype(np.float32)[:, None, None]
    scenes.truth = [t + shift for t in scenes.truth]


def _line(image: Image, gain: float, offset: float) -> Array:
    return (gain * image.astype(np.float64) + offset).astype(np.float32)
