"""The resources that one run gives: the same weights, another arrangement of the same graph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from denoisplit.errors import InputError
from denoisplit.prediction.frame import sample_names
from denoisplit_zoo.exporting.graph import MeanAndStd, Sampler, Samples, Split


@dataclass(frozen=True)
class Kind:
    """What a resource returns."""

    graph: type[Sampler]
    samples: int  # K by default
    least: int  # smallest K
    gives: str  # end of the sentence on the model
    output: str  # of the description
    returns: str  # of the card: what it does with its samples
    uncertainty: str  # of the card: what to look at where the result may be wrong
    channels: str  # of the card: what the channels are


KINDS = {
    "mmse": Kind(
        MeanAndStd,
        16,
        2,
        "free of noise, with a calibrated standard deviation for every pixel",
        "mean of the posterior samples per structure, then calibrated standard deviations",
        "returns their mean and their spread",
        "look at the standard deviation",
        "The first $structures are the structures (mean of $samples posterior samples), the others "
        "are their standard deviations, calibrated on images that the training did not see. A "
        "calibrated standard deviation is about as large as the typical error of the mean there.",
    ),
    "samples": Kind(
        Samples,
        8,
        1,
        "free of noise, as several plausible answers",
        "posterior samples, one after another, each with all structures",
        "returns each of them, to be looked at",
        "compare the samples",
        "Each $structures of them, in this order, are one posterior sample: one plausible answer, "
        "with all structures. Where samples differ, the image does not tell: do not trust details "
        "there. The mean of the samples is closer to the truth than any of them.",
    ),
    "split": Kind(
        Split,
        16,
        1,
        "free of noise",
        "mean of the posterior samples per structure",
        "returns their mean",
        "look at its samples or standard deviation, which other packages return",
        "Each is a structure (mean of $samples posterior samples).",
    ),
}


def kind_of(name: str) -> Kind:
    """A kind by its name."""
    if name not in KINDS:
        raise InputError(
            where="--kind", found=name, expected=f"one of {', '.join(KINDS)}", remedy="choose one"
        )
    return KINDS[name]


def channel_names(kind: str, structures: Sequence[str], samples: int) -> list[str]:
    """Output channels of a kind, as identifiers.

    Raises
    ------
    InputError
        If two channels would have one name.
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
            where="channel names",
            found=f"the structures {', '.join(structures)}",
            expected="names that differ in letters or digits",
            remedy="train with other names",
        )
    return names
