"""Sentences of a report, as plain text without HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from denoisplit.config.settings import RunConfig
from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.report.example import CROP, ExampleFrame
from denoisplit.report.plots import StructureCalibration
from denoisplit.report.tables import cell


def summary(metrics: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return one or two sentences with the key numbers."""
    mean, frames = metrics["mean"], metrics["frames"]
    tested = f"{frames} test frame{'s' * (frames != 1)} not used in training"
    if mean["psnr"]["mean"] is None:
        return f"No PSNR could be computed for {enumeration(names)} on {tested}."
    clean = metrics["reference"] == "noise-free"
    reference = "" if clean else " against the recorded, noisy images"
    over = ", averaged over the structures" if len(names) > 1 else ""
    text = (
        f"On {tested}, the prediction reaches a PSNR of {cell(mean['psnr'], 'psnr')} dB"
        f"{reference}{over}; the noisy input has {cell(mean['psnr_naive'], 'psnr')} dB and a "
        f"single posterior sample {cell(mean['psnr_single_sample'], 'psnr')} dB."
    )
    error = mean["calibration_error"]["mean"]
    if clean and error is not None:
        text += f" Its error bars are off by {100 * error:.0f} % on average."
    return text


def overview_caption(example: ExampleFrame) -> str:
    """Return which frame is shown, and which part of it."""
    frame = "The test frame"
    if example.count > 1:
        place = "median" if example.count > 2 else "lower"
        frame = f"Test frame {example.number} of {example.count}, the one with the {place} PSNR"
    part = ""
    if example.is_part:
        height, width = example.frame_shape
        part = f"; of its {width} × {height} px, the {CROP} × {CROP} px with the most contrast"
    colours = " Each structure has its own colour." if len(example.names) > 1 else ""
    return f"{frame}{part}.{colours}"


def panels_note(example: ExampleFrame) -> str:
    """Return how to read the panels of a structure."""
    reference, truth = "the noise-free truth", "truth, "
    if example.truth is None:
        reference, truth = "the recorded, noisy image", ""
    return (
        f"The values in dB are the PSNR of the whole frame against {reference}. For each "
        f"structure, {truth}prediction and samples share one display range; input and noisy "
        "images have their own. Both samples are equally likely answers; where they differ, the "
        "input does not determine the structure. Colour bars are in raw intensity."
    )


def std_paragraphs(
    calibration: Mapping[str, Any],
    structures: Sequence[StructureCalibration],
    *,
    truth_known: bool,
    denoised: bool = False,
) -> list[str]:
    """Return what the std means and how it was calibrated, in paragraphs.

    Parameters
    ----------
    calibration : mapping
        As in calibration.json.
    truth_known : bool
        Whether the test frames have a noise-free truth.
    denoised : bool
        Whether the network splits a denoised image.
    """
    reference = str(calibration["reference"])
    if reference.startswith("none"):
        fitted = (
            "The factor could not be fitted, because there was no suitable reference: the std is "
            "the uncalibrated spread of the samples and may be far too small."
        )
    else:
        factors = enumeration([f"{s.scalar:.2f} for {s.name}" for s in structures])
        source = (
            "the noise-free truth"
            if reference == "noise-free"
            else "the recorded, noisy images, after subtracting the variance of their noise "
            "according to the noise model"
        )
        fitted = (
            f"The factor ({factors}) was fitted on validation frames against {source}: with it, "
            "std and real error are equally large on average."
        )
    shares = enumeration([f"{100 * s.within:.0f} % of the pixels of {s.name}" for s in structures])
    inside = f"In the test frames, the truth lies within one std for {shares}." * truth_known
    chain = (
        "The samples are drawn by the splitter from one denoised image, the mean of the denoiser's "
        "samples. Their spread does not include the uncertainty of the denoiser; only the factor "
        "accounts for it."
    )
    return [
        "For one input, the network draws many possible answers, the posterior samples. Their mean "
        "is the prediction (MMSE). For each pixel, the std is the spread of the samples around "
        "this mean in raw intensity, multiplied by a calibration factor for each structure.",
        *[chain] * denoised,
        f"{fitted} {inside}".strip(),
        "This holds for images like those used in training. Check it again for another sample, "
        "exposure or microscope, and for structures that were not part of the training.",
    ]


def calibration_note(frames: EvaluationFrames, noise_models: bool) -> str:
    """Return how noisy references affect the calibration plot; empty if there is a truth."""
    if frames.has_truth:
        return ""
    if noise_models:
        return (
            " The reference is noisy: the variance of the noise according to the noise model was "
            "subtracted from the error."
        )
    return " The reference is noisy, and its noise adds to the error: the dots are too high."


def metrics_note(frames: EvaluationFrames) -> str:
    """Return how noisy references affect the metrics; empty if there is a truth."""
    if frames.has_truth:
        return ""
    return (
        "There is no noise-free truth for these images. All metrics compare with the recorded, "
        "noisy images: PSNR and MS-SSIM are lower than against a noise-free truth, and the "
        "calibration error includes the noise of the reference."
    )


def added_noise(config: RunConfig) -> str:
    """Return the synthetic noise of a run as a sentence."""
    factor, sigma = config.settings.data.synthetic_poisson, config.facts.gaussian_sigma
    kinds = [f"Poisson noise of {factor:g} per event"] * (factor > 0)
    kinds += [f"Gaussian noise of {sigma:.3g}"] * (sigma > 0)
    if not kinds:
        return "No noise was added."
    return f"Noise added: {enumeration(kinds)}, in raw intensity."


def enumeration(words: Sequence[str]) -> str:
    """Return words separated by commas, with "and" before the last one."""
    return " and ".join([*[", ".join(words[:-1])] * (len(words) > 1), words[-1]])
