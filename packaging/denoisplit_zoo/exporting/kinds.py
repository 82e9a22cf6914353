"""Kinds of packages: the same weights, with different output channels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from denoisplit.errors import InputError
from denoisplit.prediction.sampling import sample_names
from denoisplit_zoo.exporting.graph import MeanAndStd, Sampler, Samples, Split


@dataclass(frozen=True)
class PackageKind:
    """Graph, number of samples, output channels and texts of one kind of package."""

    graph: type[Sampler]
    samples: int  # K by default
    channel_names: Callable[[Sequence[str], int], Sequence[str]]  # from structure names and K
    summary: str  # end of the one-sentence summary of the model
    output: str  # description of the output tensor
    returns: str  # in the card: what is computed from the samples
    uncertainty: str  # in the card: how to see where the result may be wrong
    channels: str  # in the card: meaning of the output channels
    min_samples: int = 1
    calibrated: bool = False  # whether the graph takes the calibration factors of the run


PACKAGE_KINDS = {
    "mmse": PackageKind(
        MeanAndStd,
        16,
        lambda structures, _: [*structures, *(f"{name}_std" for name in structures)],
        ", with a calibrated standard deviation for every pixel",
        "posterior mean of each structure, then the calibrated standard deviation of each",
        "returns their mean and their calibrated standard deviation",
        "look at the standard deviation",
        "The first $structures are the structures (mean of $samples posterior samples), the others "
        "are their standard deviations, calibrated on images that were not used for training. A "
        "calibrated standard deviation is about as large as the typical error of the mean at that "
        "pixel.",
        min_samples=2,
        calibrated=True,
    ),
    "samples": PackageKind(
        Samples,
        8,
        sample_names,
        ", as a set of posterior samples",
        "posterior samples one after another, each with all structures",
        "returns each of them",
        "compare the samples",
        "Each group of $structures, in this order, is one posterior sample with all structures. "
        "Where the samples differ, the image does not determine the structures: do not trust "
        "details there. The mean of the samples is closer to the truth than any single sample.",
    ),
    "split": PackageKind(
        Split,
        16,
        lambda structures, _: structures,
        "",
        "posterior mean of each structure",
        "returns their mean",
        "look at its samples or its standard deviation, which the other kinds of packages return",
        "Each channel is one structure (mean of $samples posterior samples).",
    ),
}


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
