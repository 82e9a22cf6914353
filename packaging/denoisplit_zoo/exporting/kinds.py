"""Kinds of packages: the same weights, with different output channels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from denoisplit.errors import InputError
from denoisplit.prediction.sampling import sample_names
from denoisplit.run import Run
from denoisplit_zoo.exporting.graph import (
    Fast,
    Interval,
    MeanAndErrorMap,
    MeanAndStd,
    Sampler,
    Samples,
    Split,
    Splitter,
)

COVERAGE = 0.9  # of the intervals, by default
TEXTS = ("summary", "output", "returns", "channels", "uncertainty", "unsure", "error_bars")


@dataclass(frozen=True)
class PackageKind:
    """Graph, number of samples, output channels and texts of one kind of package.

    The texts may hold ``$names`` (of the structures), ``$samples`` (as "4 posterior samples") and
    ``$coverage`` (of the intervals, as "90 %").
    """

    graph: type[Splitter]
    channel_names: Callable[[Sequence[str], int], Sequence[str]]  # from structure names and K
    summary: str  # end of the one-sentence summary of the model
    output: str  # description of the output tensor
    returns: str  # in the card: what the package computes
    channels: str  # in the card: meaning of the output channels
    uncertainty: str  # in the card: how to see where the result may be wrong
    unsure: str = "the samples differ and the standard deviation is large"  # in the card
    error_bars: str = ""  # in the card: where the error bars come from, and what they are good for
    samples: int = 0  # K by default; 0 for one pass without samples
    min_samples: int = 1
    error_map: bool = False  # whether it takes the error map of the run
    without_map: PackageKind | None = None  # the same kind of a run that has no error map

    @property
    def sampled(self) -> bool:
        """Whether the graph draws samples."""
        return issubclass(self.graph, Sampler)

    @property
    def interval(self) -> bool:
        """Whether the graph returns intervals."""
        return issubclass(self.graph, Interval)


def _with_std(structures: Sequence[str], _: int) -> list[str]:
    return [*structures, *(f"{name}_std" for name in structures)]


def _with_ends(structures: Sequence[str], _: int) -> list[str]:
    return [f"{name}{end}" for end in ("", "_low", "_high") for name in structures]


DECODED = "decoded in one pass from the means of the latent variables, without drawing samples"
STD = (
    "their standard deviations, in the same order: the expected size of the error at that pixel, "
    "estimated by an error map that was fitted on images of $names. Among pixels of the same "
    "standard deviation, the root mean square of the errors is about as large as it; the error of "
    "a single pixel is smaller or larger."
)
ERROR_MAP = (
    "The standard deviations come from an error map: a small network that sees the image and the "
    "result, and was fitted to the errors of the model, measured or estimated, on images of "
    "$names. They are right on average for images like those. Where noise hides the error, as in "
    "dark regions, they can be too large. The error of single pixels, and of images that differ "
    "from those of the training, can be larger."
)
INTERVALS = (
    "The intervals come from an error map: a small network that sees the image and the result, and "
    "was fitted to the errors of the model, measured or estimated, on images of $names. Their "
    "widths were set on validation images, for groups of pixels of similar intensity. The coverage "
    "of $coverage is approximate, and holds on average for images like those of the validation: it "
    "differs from image to image, and in images that differ from those more pixels can lie outside."
)

PACKAGE_KINDS = {
    "mmse": PackageKind(
        MeanAndErrorMap,
        _with_std,
        ", with the expected size of the error for every pixel",
        "posterior mean of each structure, then the expected size of the error (standard "
        "deviation) of each",
        "draws $samples and returns their mean, and the expected size of its error",
        "The structures come first (mean of $samples), then "
        + STD
        + " It belongs to the structures decoded without samples, so it does not depend on how "
        "many are drawn.",
        "look at the standard deviation",
        "the standard deviation is large",
        ERROR_MAP,
        samples=16,
        error_map=True,
        without_map=PackageKind(
            MeanAndStd,
            _with_std,
            ", with a calibrated standard deviation for every pixel",
            "posterior mean of each structure, then the calibrated standard deviation of each",
            "draws $samples and returns their mean and their calibrated standard deviation",
            "The structures come first (mean of $samples), then their standard deviations, "
            "calibrated on images that were not used for training. A calibrated standard deviation "
            "is about as large as the typical error of the mean at that pixel.",
            "look at the standard deviation",
            error_bars="The standard deviations are multiplied by these calibration factors: "
            "$factors. They are right on average. The error of single pixels, and of images that "
            "differ from the training images, can be larger.",
            samples=16,
            min_samples=2,
        ),
    ),
    "fast": PackageKind(
        Fast,
        _with_std,
        ", with the expected size of the error for every pixel",
        "each structure, decoded in one pass, then the expected size of the error (standard "
        "deviation) of each",
        f"returns one that is {DECODED}, and the expected size of its error",
        "The structures come first, then " + STD,
        "look at the standard deviation",
        "the standard deviation is large",
        ERROR_MAP,
        error_map=True,
    ),
    "interval": PackageKind(
        Interval,
        _with_ends,
        ", with an interval for every pixel, of which about $coverage contain the true intensity",
        "each structure, decoded in one pass, then the lower and then the upper end of its "
        "interval of $coverage",
        f"returns one that is {DECODED}, and an interval around it",
        "The structures come first, then the lower ends and then the upper ends of their "
        "intervals, in the same order. The intervals of about $coverage of the pixels contain the "
        "intensity that the structure would have without noise, in dark as in bright regions. A "
        "lower end may be negative.",
        "look at the intervals",
        "the intervals are wide",
        INTERVALS,
        error_map=True,
    ),
    "samples": PackageKind(
        Samples,
        sample_names,
        ", as a set of posterior samples",
        "posterior samples one after another, each with all structures",
        "draws $samples and returns each of them",
        "Each group of $structures, in this order, is one posterior sample with all structures. "
        "Where the samples differ, the image does not determine the structures: do not trust "
        "details there. The mean of the samples is closer to the truth than any single sample.",
        "compare the samples",
        samples=8,
    ),
    "split": PackageKind(
        Split,
        lambda structures, _: structures,
        "",
        "posterior mean of each structure",
        "draws $samples and returns their mean",
        "Each channel is one structure (mean of $samples).",
        "look at its samples or its standard deviation, which the other kinds of packages return",
        samples=16,
    ),
}


def package_kind(name: str, run: Run) -> PackageKind:
    """Return a kind of package, as it is for a run.

    Raises
    ------
    InputError
        If there is no such kind, or it needs an error map and the run has none.
    """
    if name not in PACKAGE_KINDS:
        expected = ", ".join(PACKAGE_KINDS)
        raise InputError(f"unknown kind {name!r}, expected one of {expected}", where="kind")
    kind = PACKAGE_KINDS[name]
    if not kind.error_map or run.error_map is not None:
        return kind
    if kind.without_map is None:
        run.needs_error_map(f"packages of kind {name}")
    assert kind.without_map is not None
    return kind.without_map


def channel_names(kind: str, structures: Sequence[str], samples: int) -> list[str]:
    """Return the names of the output channels, as identifiers.

    Raises
    ------
    InputError
        If two channels would have the same name.
    """
    plain = [re.sub(r"\W+", "_", name).strip("_") for name in structures]
    plain = [f"s_{name}" if not name[:1].isalpha() else name for name in plain]
    names = PACKAGE_KINDS[kind].channel_names(plain, samples)
    if len(set(names)) < len(names):
        raise InputError(
            f"the structures {', '.join(structures)} lead to output channels of the same name",
            remedy="train with names that differ in letters or digits",
        )
    return list(names)
