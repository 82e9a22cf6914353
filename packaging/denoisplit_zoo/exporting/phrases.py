"""Texts of a package that depend on the system: of models that split, and of denoisers."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import NamedTuple

from denoisplit.config.systems import SYSTEMS
from denoisplit_zoo.exporting.kinds import PackageKind


class Citation(NamedTuple):
    """A publication to cite in addition to the method's paper."""

    text: str
    doi: str


CITATIONS = {
    "hdn": Citation(
        "Prakash et al. (2021): Interpretable unsupervised diversity denoising and artefact "
        "removal. arXiv 2104.01374",
        "10.48550/arXiv.2104.01374",
    )
}

SPLITTING = {
    "summary": "Splits a noisy fluorescence image that is the $superposition of $names into "
    "denoised images of these structures$summary.",
    "task": "The model is a variational splitting encoder-decoder ($reference). It was trained on "
    "images of each structure alone. It takes one noisy image of their $superposition, recorded in "
    "one channel, and returns a denoised image of each structure.",
    "use": "Use the model for images that show $names together in one channel and that match the "
    "training images in sample, microscope, exposure and noise. It is not meant for other "
    "structures, other magnifications or intensities on another scale. Its output does not prove "
    "that a structure is present: $uncertainty, and validate the model on your own images of known "
    "structures.",
    "picture": "Mixed test image, and its split",
    "validate": "To validate the model on your own data, record or superpose images of known "
    "structures, split them and compare.",
    "trained_for": "one kind of superposition ($superposition), one noise level and one intensity "
    "scale",
    "limits": "Structures cannot be separated where they look alike or where their signal is far "
    "below the noise. There the samples differ and the standard deviation is large.",
    "input_description": "raw intensities of the superposed structures, one channel",
    "input_channel": "mixed",
    "tag": "image-splitting",
}
DENOISING = {
    "summary": "Denoises fluorescence images of $names$summary.",
    "task": "The model is a hierarchical variational autoencoder ($reference). It was trained on "
    "noisy images of $names alone and removes their noise.",
    "use": "Use the model for images of $names that match the training images in sample, "
    "microscope, exposure and noise. It is not meant for other structures, other magnifications or "
    "intensities on another scale. Its output does not prove that a detail is present: "
    "$uncertainty, and validate the model on fields of view that you recorded with a short and a "
    "long exposure.",
    "picture": "Noisy test image, and its denoised version",
    "validate": "To validate the model on your own data, record fields of view with a short and a "
    "long exposure, denoise the short one and compare.",
    "trained_for": "one noise level and one intensity scale",
    "limits": "Signal far below the noise cannot be recovered. There the samples differ and the "
    "standard deviation is large.",
    "input_description": "raw intensities, one channel",
    "input_channel": "noisy",
    "tag": "",
}


def package_texts(
    names: tuple[str, ...], superposition: str, system: str, kind: PackageKind
) -> Mapping[str, str]:
    """Return the texts of description and model card by their names in the templates."""
    texts = SPLITTING if len(names) > 1 else DENOISING
    values = {
        "names": " and ".join(names),
        "superposition": superposition,
        "reference": SYSTEMS[system].reference,
        "summary": kind.summary,
        "uncertainty": kind.uncertainty,
    }
    return {key: Template(text).substitute(values) for key, text in texts.items()}
