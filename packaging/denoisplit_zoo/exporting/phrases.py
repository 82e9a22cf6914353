"""Texts of a package that depend on the system: of models that split, and of denoisers."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import Any

from denoisplit.config.systems import SYSTEMS
from denoisplit.run import Run
from denoisplit_zoo.exporting.about import Source
from denoisplit_zoo.exporting.kinds import TEXTS, PackageKind

CITATIONS = {
    "hdn": Source(
        text="Prakash et al. (2021): Interpretable unsupervised diversity denoising and artefact "
        "removal. arXiv 2104.01374",
        doi="10.48550/arXiv.2104.01374",
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
    "example": "Record cells in which $names are labelled in one channel, with the settings of the "
    "table under *Training data*, and others in which one of them is labelled. Split the mixed "
    "images; superpose and split the others to see the error on your sample. Then $uncertainty. "
    "Segment or measure each structure in its own channel, only where it is certain.",
    "bias": "The model has learnt how $names look in the training images. It splits every image "
    "into these, also one that shows something else, and may add or remove detail so that the "
    "result looks like them: rare shapes, other cell types and diseased cells are at risk.",
    "picture": "a mixed test image and its split",
    "validate": "To validate the model on your own data, record or superpose images of known "
    "structures, split them and compare.",
    "trained_for": "one kind of superposition ($superposition), one noise level and one intensity "
    "scale",
    "limits": "Structures cannot be separated where they look alike or where their signal is far "
    "below the noise. There $unsure.",
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
    "example": "Record $names with the settings of the table under *Training data*, and a few "
    "fields twice, with a short and a long exposure. Denoise the short ones and compare to see "
    "the error on your own sample. Then $uncertainty. Segment or measure only where the result is "
    "certain.",
    "bias": "The model has learnt how $names look in the training images, and may add or remove "
    "detail so that the result looks like them: rare shapes, other cell types and diseased cells "
    "are at risk.",
    "picture": "a noisy test image and its denoised version",
    "validate": "To validate the model on your own data, record fields of view with a short and a "
    "long exposure, denoise the short one and compare.",
    "trained_for": "one noise level and one intensity scale",
    "limits": "Signal far below the noise cannot be recovered. There $unsure.",
    "input_description": "raw intensities, one channel",
    "input_channel": "noisy",
    "tag": "",
}


# in the card, of packages that draw samples: why results are repeatable, and where they are not
SAMPLED = {
    "reproducibility": "Drawing a posterior sample needs random numbers. This model uses "
    "deterministic pseudo-random numbers: the noise of each latent pixel is derived by a hash from "
    "the raw pixel values around it and from the built-in seed $seed. The same image therefore "
    "always gives the same result, whole or in aligned tiles and on any machine (up to rounding), "
    "and another image gets other noise. The test image is not treated in any special way. For "
    "other samples of the same posterior, export the run with another seed.",
    "aligned": "the last tile of a row or column is moved inside the image. If the size of the "
    "image is no multiple of $stride px, that tile shows another, equally valid sample, which can "
    "differ by a tenth of the data range.",
    "integers": "The hash needs 64-bit integers. PyTorch and onnxruntime (native and as "
    "WebAssembly) compute them. OpenVINO cuts them to 32 bits without a warning: its samples, and "
    "what is computed from them, are wrong. For such runtimes use a package of kind `fast` or "
    "`interval` of the same model, which draw no samples.",
}
ONE_PASS = {
    "reproducibility": "This model draws no samples and uses no random numbers: the same image "
    "always gives the same result, on any machine (up to rounding).",
    "aligned": "the last tile of a row or column is moved inside the image. If the size of the "
    "image is no multiple of $stride px, that tile differs slightly, since the network works on a "
    "grid of $stride px.",
    "integers": "All arithmetic on pixel values is in floating point: a runtime without 64-bit "
    "integers, such as OpenVINO, can be used.",
}


def package_texts(
    run: Run, kind: PackageKind, arguments: Mapping[str, Any], coverage: float | None
) -> Mapping[str, str]:
    """Return the texts of description and model card by their names in the templates.

    Parameters
    ----------
    run : Run
    kind : PackageKind
    arguments : mapping
        Arguments of the graph.
    coverage : float or None
        Share of the pixels in an interval, if the package returns intervals.
    """
    settings, samples = run.config.settings, arguments.get("samples", 0)
    values = {
        "names": " and ".join(run.names),
        "structures": len(run.names),
        "superposition": settings.data.superposition,
        "reference": SYSTEMS[settings.system].reference,
        "samples": f"{samples} posterior sample{'s' * (samples > 1)}",
        "seed": arguments.get("seed"),
        "stride": run.model.stride,
        "factors": ", ".join(f"{name} {a:.3g}" for name, a in run.calibration.items()),
        "coverage": "" if coverage is None else f"{100 * coverage:g} %",
    }

    def filled(texts: Mapping[str, str]) -> dict[str, str]:
        return {key: Template(text).substitute(values) for key, text in texts.items()}

    own = filled({name: getattr(kind, name) for name in TEXTS})
    values |= own
    general = filled(SPLITTING if len(run.names) > 1 else DENOISING)
    return {**own, **general, **filled(SAMPLED if kind.sampled else ONE_PASS)}
