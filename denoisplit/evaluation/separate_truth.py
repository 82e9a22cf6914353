"""Truth from separate images, such as long exposures, scaled to the units of the evaluated frames.

Another exposure has other grey levels. PSNR is invariant to that, but calibration, MS-SSIM and the
correlation with noise compare grey levels. So one gain per structure and an offset are fitted to
the truth, by least squares over all pixels of all frames. The fit uses the recorded images only, so
a prediction of wrong brightness remains wrong. Pixels at which a truth is saturated are excluded
from the fit and from the correlation with noise, but not from PSNR and calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from denoisplit.data.prepare import observe
from denoisplit.data.splits import Group, Image
from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.noise_models.saturation import Limits, limits_of
from denoisplit.progress import logger

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

MIN_BELOW_LIMIT = 0.5  # share of the pixels; with fewer, the limit is not taken for saturation
LOW_CORRELATION = 0.2  # between recorded images and the truth that should explain them


@dataclass(frozen=True)
class LinearFit:
    """Gains and offset of ``image ~ sum_k gains[k] * truth_k + offset``.

    Attributes
    ----------
    gains : tuple of float
        Units of the image per unit of each truth.
    offset : float
        In the unit of the image.
    correlation : float
        Correlation of the image with the fitted sum over all pixels; 1 without noise.
    """

    gains: tuple[float, ...]
    offset: float
    correlation: float


def unsaturated(truth: Group) -> list[Mask]:
    """Return masks [frame] (Y, X) of the pixels at which no truth [structure][frame] is saturated.

    A structure excludes no pixels if few lie below its limit or those have a single value, as in a
    binary mask.
    """
    masks = [np.ones(image.shape, dtype=bool) for image in truth[0]]
    for frames in truth:
        upper = Limits(None, limits_of(frames).high)
        below = [upper.inside(image) for image in frames]
        inner = np.concatenate([image[b] for image, b in zip(frames, below, strict=True)])
        if inner.size > MIN_BELOW_LIMIT * sum(b.size for b in below) and inner.min() < inner.max():
            masks = [mask & b for mask, b in zip(masks, below, strict=True)]
    return masks


def linear_fit(
    truth: Group, images: Sequence[Image], where: Sequence[Mask] | None = None
) -> LinearFit:
    """Fit images by a weighted sum of truths, with least squares over the pixels of all frames.

    Noise in a truth lowers its gain, by the noise's share of the variance of that truth.

    Parameters
    ----------
    truth : [structure][frame] of (Y, X)
        Any unit; no structure may be a multiple or sum of others.
    images : [frame] of (Y, X)
        As large as the frames of the truth.
    where : [frame] of bool (Y, X), optional
        Pixels to use.

    Raises
    ------
    InputError
        If a truth is constant or depends on the others, so that the gains are not defined.
    """
    where = where or [np.ones(image.shape, dtype=bool) for image in images]
    # each frame as the list of its pixels that are used
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
            "some images are constant, apart from saturated pixels",
            where="truth",
            remedy="check that the files show the structures",
        )
    correlations = products / np.outer(spread, spread)
    among, with_image = correlations[:-1, :-1], correlations[:-1, -1]
    if np.linalg.eigvalsh(among)[0] < 1e-6:
        raise InputError(
            "some images are multiples or sums of others",
            where="truth",
            remedy="pass images that show each structure alone",
        )
    slopes = np.linalg.solve(among, with_image)  # for unit variances
    gains = slopes * spread[-1] / spread[:-1]
    return LinearFit(
        gains=tuple(float(gain) for gain in gains),
        offset=float(means[-1] - gains @ means[:-1]),
        correlation=float(np.sqrt(max(slopes @ with_image, 0.0))),
    )


def check_sizes(name: str, truth: Sequence[Image], images: Sequence[Image], other: str) -> None:
    """Refuse a truth whose frames do not agree in number and size with the images it is of.

    Parameters
    ----------
    name : str
        The structure.
    truth, images : sequence of array (Y, X)
    other : str
        What the images are, for the error message.

    Raises
    ------
    InputError
    """

    def refuse(where: str, found: str, expected: str) -> NoReturn:
        remedy = "provide the same fields of view, in the same order"
        expected = f"{expected} as in {other}"
        raise InputError(where=f"truth {where}", found=found, expected=expected, remedy=remedy)

    if len(truth) != len(images):
        refuse(name, f"{len(truth)} frames", str(len(images)))
    for j, (frame, image) in enumerate(zip(truth, images, strict=True)):
        if frame.shape != image.shape:
            found, expected = (f"{y} x {x} px" for y, x in (frame.shape, image.shape))
            refuse(f"{name}, frame {j}", found, expected)


def refuse_same_truth(names: Sequence[str], truth: Sequence[Sequence[Image]]) -> None:
    """Refuse one image as the truth of two structures.

    Raises
    ------
    InputError
    """
    for (first, some), (name, others) in combinations(zip(names, truth, strict=True), 2):
        if any(map(np.array_equal, some, others)):
            problem = f"some of these frames are also the truth of {first}"
            remedy = "provide images that show each structure alone"
            raise InputError(problem, where=f"truth {name}", remedy=remedy)


def check_fits(names: Sequence[str], fits: Sequence[LinearFit]) -> None:
    """Log how truths were fitted; refuse those that are dark where the images are bright.

    Raises
    ------
    InputError
    """
    for name, fit in zip(names, fits, strict=True):
        if fit.gains[0] <= 0:
            raise InputError(
                "these frames are dark where the recorded images are bright",
                where=f"truth {name}",
                remedy="check that the files show the same fields, in the same order",
            )
    for name, fit in zip(names, fits, strict=True):
        logger.info(
            "truth of %s: gain %.4g, correlation with the recorded images %.2f",
            name,
            fit.gains[0],
            fit.correlation,
        )
        if fit.correlation < LOW_CORRELATION:
            logger.warning(
                "the truth of %s hardly agrees with the recorded images (correlation %.2f): "
                "does it show the same fields?",
                name,
                fit.correlation,
            )


class RecordedFrames(EvaluationFrames):
    """Frames with recorded noise, and a truth that was recorded separately and fitted to them.

    Parameters
    ----------
    truth : [structure][frame] of (Y, X)
        Fitted, in the unit of the observed structures.
    observed : [structure][frame] of (Y, X)
        Empty if only the superposition was recorded.
    inputs : [frame] of (Y, X)
    fits : sequence of LinearFit
        Fit of each structure of the truth.
    where : [frame] of bool (Y, X)
        Pixels at which no truth is saturated.
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
        self.superposition = superposition
        self.within_limits = [
            np.broadcast_to(w, t.shape) for w, t in zip(where, self.truth, strict=True)
        ]

    @property
    def reference(self) -> str:
        """What predictions are compared with, for the user."""
        fitted_to = "the structures" if self.observed else "the mixed images, together"
        return f"separate images, fitted by gain and offset to {fitted_to}"


def frames_from_structures(
    structures: Group, truth: Group, superposition: Superposition, *, clip: float | None = None
) -> RecordedFrames:
    """Superpose recorded structures, and fit each truth to the recorded image of its structure.

    Parameters
    ----------
    structures, truth : [structure][frame] of (Y, X)
        The same fields of view; raw intensity, and any unit.
    clip : float, optional
        Upper clip of the run for both, raw intensity.
    """
    recorded = SyntheticNoise(clip=clip)  # clips, but adds no noise
    observed = observe(structures, recorded, seed=0, part="evaluation")
    where = unsaturated(truth)
    fits = [linear_fit((t,), s, where) for t, s in zip(truth, structures, strict=True)]
    fitted = tuple(
        tuple(scaled(image, fit.gains[0], fit.offset) for image in frames)
        for frames, fit in zip(truth, fits, strict=True)
    )
    fitted = observe(fitted, recorded, seed=0, part="evaluation")
    inputs = [superposition(frame) for frame in zip(*observed, strict=True)]
    return RecordedFrames(fitted, observed, inputs, superposition, fits, where)


def frames_from_mixed(
    mixed: Sequence[Image], truth: Group, superposition: Superposition
) -> RecordedFrames:
    """Use recorded superpositions, and fit the truths of all structures to them together.

    A superposition has one offset, of which each structure gets the same share; see `share_offset`.

    Parameters
    ----------
    mixed : [frame] of (Y, X)
        Raw intensity, superposed as in the training of the run.
    truth : [structure][frame] of (Y, X)
        The same fields of view; any unit.
    """
    where = unsaturated(truth)
    fit = linear_fit(truth, mixed, where)
    scale, count = superposition.scale, len(truth)
    offset = (fit.offset - superposition.shift) / (scale * count)
    fitted = [
        [scaled(image, gain / scale, offset) for image in frames]
        for frames, gain in zip(truth, fit.gains, strict=True)
    ]
    inputs = [image.astype(np.float32) for image in mixed]
    each = [LinearFit((gain,), fit.offset, fit.correlation) for gain in fit.gains]
    return RecordedFrames(fitted, (), inputs, superposition, each, where)


def share_offset(frames: RecordedFrames, means: Sequence[Array]) -> None:
    """Distribute the offset of mixed images over the structures as predictions do, in place.

    A mixed image does not show how much of its offset belongs to each structure; a network knows it
    from training. Afterwards all structures have the same mean error, and the superposition of the
    truths is unchanged.

    Parameters
    ----------
    means : [frame] of (C, Y, X)
        Predictions of the inputs.
    """
    pixels = sum(x.size for x in frames.inputs)
    errors = [
        (p.astype(np.float64) - t).sum(axis=(1, 2))
        for p, t in zip(means, frames.truth, strict=True)
    ]
    shift = np.sum(errors, axis=0) / pixels
    shift = (shift - shift.mean()).astype(np.float32)[:, None, None]
    frames.truth = [t + shift for t in frames.truth]


def scaled(image: Image, gain: float, offset: float) -> Array:
    """Return an image (Y, X) in another unit."""
    return (gain * image.astype(np.float64) + offset).astype(np.float32)
