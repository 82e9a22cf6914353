"""What is said of a package that splits, and of one that only removes noise."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import NamedTuple

from denoisplit.config.systems import SYSTEMS
from denoisplit_zoo.exporting.kinds import Kind


class Citation(NamedTuple):
    """One more publication, beside that of the method."""

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
    "summary": "Splits a noisy fluorescence image that is the $superposition of $names into these "
    "structures, $gives.",
    "task": "The model is a variational splitting encoder-decoder ($reference). It was trained on "
    "images of each structure alone and splits their $superposition, recorded as one noisy image "
    "with one fluorophore, into the structures, free of noise.",
    "use": "Splitting images of the same kind of sample, microscope, exposure and noise as in "
    "training: $names recorded together in one channel. It is not meant for other structures, "
    "other magnifications or intensities on another scale, and its output is no proof that a "
    "structure is present: $uncertainty, and validate on images of your own where the structures "
    "are known.",
    "picture": "The mixed image of the test, and its split",
    "validate": "To validate the model on your own data, record or superpose images whose "
    "structures are known, split them, and compare.",
    "trained_for": "one superposition ($superposition), one level of noise and one intensity scale",
    "untold": "What the structures have in common, or what is far below the noise, cannot be told "
    "apart; there samples differ and the standard deviation is large.",
    "input_description": "raw intensities of the superposed structures, one channel",
    "input_channel": "mixed",
    "tag": "image-splitting",
}
DENOISING = {
    "summary": "Gives images of $names, recorded with noise, back $gives.",
    "task": "The model is a hierarchical variational autoencoder ($reference). It was trained on "
    "noisy images of $names and removes their noise.",
    "use": "Removing the noise of images of the same kind of sample, microscope, exposure and "
    "noise as in training: $names. It is not meant for other structures, other magnifications or "
    "intensities on another scale, and its output is no proof that a detail is present: "
    "$uncertainty, and validate on images of your own with long exposures beside the short ones.",
    "picture": "The noisy image of the test, and what the model makes of it",
    "validate": "To validate the model on your own data, record fields of view with a long "
    "exposure too, remove the noise of the short one, and compare.",
    "trained_for": "one level of noise and one intensity scale",
    "untold": "What is far below the noise cannot be told; there samples differ and the standard "
    "deviation is large.",
    "input_description": "raw intensities, one channel",
    "input_channel": "noisy",
    "tag": "",
}


def words(names: tuple[str, ...], superposition: str, system: str, kind: Kind) -> Mapping[str, str]:
    """The phrases of description and model card, by their names in the templates."""
    phrases = SPLITTING if len(names) > 1 else DENOISING
    values = {
        "names": " and ".join(names),
        "superposition": superposition,
        "reference": SYSTEMS[system].reference,
        "gives": kind.gives,
        "uncertainty": kind.uncertainty,
    }
    return {key: Template(text).substitute(values) for key, text in phrases.items()}
