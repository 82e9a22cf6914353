"""Kinds of packages: the same weights, with different output channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from denoisplit.errors import InputError
from denoisplit.prediction.frame import sample_names
from denoisplit_zoo.exporting.graph import MeanAndStd, Sampler, Samples, Split


@dataclass(frozen=True)
class PackageKind:
    """Graph, number of samples and texts of one kind of package."""

    graph: type[Sampler]
    samples: int  # K by default
    min_samples: int
    summary: str  # end of the one-sentence summary of the model
    output: str  # description of the output tensor
    returns: str  # in the card: what is computed from the samples
    uncertainty: str  # in the card: how to see where the result may be wrong
    channels: str  # in the card: meaning of the output channels


PACKAGE_KINDS = {
    "mmse": PackageKind(
        MeanAndStd,
        16,
        2,
        ", with a calibrated standard deviation for every pixel",
        "posterior mean of each structure, then the calibrated standard deviation of each",
        "returns their mean and their calibrated standard deviation",
        "look at the standard deviation",
        "The first $structures are the structures (mean of $samples posterior samples), the others "
        "are their standard deviations, calibrated on images that were not used for training. A "
        "calibrated standard deviation is about as large as the typical error of the mean at that "
        "pixel.",
    ),
    "samples": PackageKind(
        Samples,
        8,
        1,
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
        1,
        "",
        "posterior mean of each structure",
        "returns their mean",
        "look at its samples or its standard deviation, which the other kinds of packages return",
        "Each channel is one structure (mean of $samples posterior samples).",
    ),
}


def package_kind(name: str) -> PackageKind:
    """Return a kind of package by its name."""
    if name not in PACKAGE_KINDS:
        raise InputError(
            f"unknown kind {name!r}, expected one of {', '.join(PACKAGE_KINDS)}", where="kind"
        )
    return PACKAGE_KINDS[name]


def channel_names(kind: str, structures: Sequence[str], samples: int) -> list[str]:
    """Return the names of the output channels, as identifiers.

    Raises
    ------
    InputError
        If two channels would have the same name.
    """
    plain = [re.sub(r"\W+", "_", name).strip("_") for name in structures]
    plain = [f"s_{name}" if not name[:1].isalpha() else name for name in plain]
    names = {
        "mmse": [*plain, *(f"{name}_std" for name in plain)],
        "samples": sample_names(plain, samples),
        "split": plain,
    }[kind]
    if len(set(names)) < len(names):
        raise InputError(
            f"the structures {', '.join(structures)} lead to output channels of the same name",
            remedy="train with names that differ in letters or digits",
        )
    return names
