"""What a report says in words: plain text, no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from denoisplit.config.settings import RunConfig
from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.report.example import CROP, Example
from denoisplit.report.plots import Calibrated
from denoisplit.report.tables import cell


def summary(metrics: Mapping[str, Any], names: Sequence[str]) -> str:
    """One or two sentences with the key numbers, plain text."""
    mean, frames = metrics["mean"], metrics["frames"]
    tested = f"{frames} test frame{'s' * (frames != 1)} that training never saw"
    if mean["psnr"]["mean"] is None:
        return f"Of {listed(names)}: on {tested} no PSNR could be computed."
    clean = metrics["reference"] == "noise-free"
    against = "" if clean else " against the recorded, noisy images"
    over = " on average over the structures" if len(names) > 1 else ""
    text = (
        f"On {tested}, the prediction reaches a PSNR of {cell(mean['psnr'], 'psnr')} dB"
        f"{against}{over}; "
        f"the noisy input as it is has {cell(mean['psnr_naive'], 'psnr')} dB and a single "
        f"posterior sample {cell(mean['psnr_single_sample'], 'psnr')} dB."
    )
    error = mean["calibration_error"]["mean"]
    if clean and error is not None:
        text += f" Its error bars are off by {100 * error:.0f} % on average."
    return text


def overview_caption(example: Example) -> str:
    """Which frame it is, and which part of it."""
    which = "The test frame"
    if example.count > 1:
        place = "median" if example.count > 2 else "the lower"
        which = f"Test frame {example.number} of {example.count}, the one of {place} PSNR"
    part = ""
    if example.is_part:
        height, width = example.frame_shape
        part = f"; {CROP} px of its {width} × {height}, where there is most to see"
    colours = " Each structure has its colour." if len(example.names) > 1 else ""
    return f"{which}{part}.{colours}"


def panels_note(example: Example) -> str:
    """How to read the panels of a structure."""
    reference = "the recorded, noisy image" if example.truth is None else "the noise-free truth"
    shared = (
        "prediction and samples have one display range"
        if example.truth is None
        else "truth, prediction and samples have one display range"
    )
    return (
        f"Decibels are the PSNR of the whole frame against {reference}. For each structure "
        f"{shared}; input and noisy images have their own. Both samples are equally likely "
        "answers; where they differ, the input does not tell. Colour keys are in raw intensity."
    )


def std_note(
    calibration: Mapping[str, Any],
    curves: Sequence[Calibrated],
    *,
    truth_known: bool,
    denoised: bool = False,
) -> list[str]:
    """What the std means and how it was calibrated, in paragraphs."""
    factors = listed([f"{c.scalar:.2f} for {c.name}" for c in curves])
    reference = str(calibration["reference"])
    if reference.startswith("none"):
        fitted = (
            "No such factor could be fitted here, since nothing was there to compare with: the std "
            "is the bare spread of the samples and may be far too small."
        )
    else:
        source = (
            "the noise-free truth"
            if reference == "noise-free"
            else "the recorded, noisy images, whose own noise was taken out by the noise model"
        )
        fitted = (
            f"The factor ({factors}) was fitted on validation frames against {source}: with it, "
            "std and real error are equally large on average."
        )
    shares = listed([f"{100 * c.within:.0f} % of the pixels of {c.name}" for c in curves])
    inside = f"In the test frames the truth lies within one std in {shares}." * truth_known
    chain = (
        "The samples are those of the splitter, of one denoised image: the mean of the denoiser's "
        "samples. What the denoiser is unsure of is not in their spread, only in the factor."
    )
    return [
        "For one input the network draws many possible answers, the posterior samples. Their mean "
        "is the prediction (MMSE). The std says, pixel by pixel and in raw intensity, how far the "
        "samples spread about it, times a calibration factor for each structure.",
        *[chain] * denoised,
        f"{fitted} {inside}".strip(),
        "This holds for images like those of the training. Another sample, exposure or microscope, "
        "or a structure that the training never showed, needs a check of its own.",
    ]


def reference_note(scenes: EvaluationFrames, noise_models: bool) -> str:
    """What to know about the calibration plot when references are noisy."""
    if scenes.has_truth:
        return ""
    if noise_models:
        return " The reference is noisy: the noise model's variance was taken out of the error."
    return " The reference is noisy, and its noise adds to the error: dots lie too high."


def noise_added(config: RunConfig) -> str:
    """The synthetic noise of a run."""
    factor, sigma = config.settings.data.synthetic_poisson, config.facts.gaussian_sigma
    kinds = [f"Poisson noise of {factor:g} per event"] * (factor > 0)
    kinds += [f"Gaussian noise of {sigma:.3g}"] * (sigma > 0)
    return f"Noise added: {listed(kinds)}, raw intensity." if kinds else "No noise was added."


def numbers_note(scenes: EvaluationFrames) -> str:
    """What to know about the numbers when references are noisy."""
    if scenes.has_truth:
        return ""
    return (
        "There is no noise-free truth for these images. All numbers compare with the recorded, "
        "noisy images: PSNR and MS-SSIM are lower than they would be against a clean one, and the "
        "calibration error holds the noise of the reference."
    )


def listed(words: Sequence[str]) -> str:
    """Words with commas and a closing "and"."""
    return " and ".join([*[", ".join(words[:-1])] * (len(words) > 1), words[-1]])
