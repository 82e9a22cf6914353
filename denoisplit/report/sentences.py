"""Sentences of a report, as plain text without HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from denoisplit.config.settings import RunConfig
from denoisplit.report.example import CROP, ExampleFrame
from denoisplit.report.tables import cell, lacks_truth, mean_column


def summary(metrics: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return one or two sentences with the key numbers."""
    mean, frames = mean_column(metrics), metrics["frames"]
    tested = f"{frames} test frame{'s' * (frames != 1)} not used in training"
    if lacks_truth(metrics):
        return _estimated_summary(metrics, names, tested)
    if mean["psnr"]["mean"] is None:
        return f"No PSNR could be computed for {enumeration(names)} on {tested}."
    over = ", averaged over the structures" if len(names) > 1 else ""
    text = (
        f"On {tested}, the prediction reaches a PSNR of {cell(mean['psnr'], 'psnr')} dB"
        f"{over}; the noisy input has {cell(mean['psnr_naive'], 'psnr')} dB and a "
        f"single posterior sample {cell(mean['psnr_single_sample'], 'psnr')} dB."
    )
    error = mean["calibration_error"]["mean"]
    if error is not None and not metrics.get("error_bars"):
        text += f" Its error bars are off by {100 * error:.0f} % on average."
    return text


def _estimated_summary(metrics: Mapping[str, Any], names: Sequence[str], tested: str) -> str:
    estimates = {name: metrics["structures"][name].get("psnr_estimated") for name in names}
    known = [
        f"{cell(estimate, 'psnr_estimated')} for {name}"
        for name, estimate in estimates.items()
        if cell(estimate, "psnr_estimated") != "-"
    ]
    if not known:
        why = ": there is neither a truth nor a noise model of these images"
        reason = why if all(estimate is None for estimate in estimates.values()) else ""
        return f"No PSNR could be estimated for {enumeration(names)} on {tested}{reason}."
    listed = enumeration(known)
    return f"On {tested}, the PSNR of the prediction, estimated without truth, is {listed}."


def overview_caption(example: ExampleFrame) -> str:
    """Return which frame is shown, and which part of it."""
    frame = "The test frame"
    if example.count > 1:
        frame = f"Test frame {example.number} of {example.count}"
    if example.count > 1 and example.chosen_by:
        place = "median" if example.count > 2 else "lower"
        frame += f", the one with the {place} {example.chosen_by}"
    part = ""
    if example.is_part:
        height, width = example.frame_shape
        part = f"; of its {width} × {height} px, the {CROP} × {CROP} px with the most contrast"
    colours = " Each structure has its own colour." if len(example.names) > 1 else ""
    return f"{frame}{part}.{colours}"


def panels_note(example: ExampleFrame) -> str:
    """Return how to read the panels of a structure."""
    psnr, truth = "", ""
    if example.truth is not None:
        psnr = "The values in dB are the PSNR of the whole frame against the noise-free truth. "
        truth = "truth, "
    return (
        f"{psnr}For each "
        f"structure, {truth}prediction and samples share one display range; input and noisy "
        "images have their own. Both samples are equally likely answers; where they differ, the "
        "input does not determine the structure. Colour bars are in raw intensity."
    )


def std_paragraphs(
    calibration: Mapping[str, Any],
    within: Mapping[str, float],
    *,
    error_map: bool = False,
    denoised: bool = False,
) -> list[str]:
    """Return what the std means and how it was calibrated, in paragraphs.

    Parameters
    ----------
    calibration : mapping
        As in calibration.json.
    within : mapping of name to float
        Share of the pixels whose truth is within one calibrated spread; empty without truth.
    error_map : bool
        Whether the std is that of the error map.
    denoised : bool
        Whether the network splits a denoised image.
    """
    shares = [f"{100 * share:.0f} % of the pixels of {name}" for name, share in within.items()]
    inside = ""
    if shares:
        spread = "calibrated spread" if error_map else "std"
        inside = (
            f" In the test frames, the truth lies within one {spread} for {enumeration(shares)}."
        )
    chain = (
        "The samples are drawn by the splitter from one denoised image, the mean of the denoiser's "
        "samples. Their spread does not include the uncertainty of the denoiser; only the factor "
        "accounts for it."
    )
    meaning = (
        "For one input, the network draws many possible answers, the posterior samples. Their mean "
        "is the prediction (MMSE). "
    )
    scaled = (
        "the spread of the samples around this mean in raw intensity, multiplied by a calibration "
        "factor for each structure."
    )
    if error_map:
        paragraphs = [
            "For each pixel, the std is the expected size of the error there (root mean square), "
            "in raw intensity. A small network, the error map, predicts it from the input and the "
            "split. It needs no samples, and is the same for any number of them.",
            f"{meaning}A second measure of uncertainty is {scaled}",
        ]
    else:
        paragraphs = [f"{meaning}For each pixel, the std is {scaled}"]
    return [
        *paragraphs,
        *[chain] * denoised,
        f"{_factors(calibration)}{inside}",
        "This holds for images like those used in training. Check it again for another sample, "
        "exposure or microscope, and for structures that were not part of the training.",
    ]


def _factors(calibration: Mapping[str, Any]) -> str:
    """Return how the calibration factors were fitted."""
    reference = str(calibration["reference"])
    if reference.startswith("none"):
        return (
            "The factor could not be fitted, because there was no suitable reference: it is 1, and "
            "the spread of the samples may be far too small."
        )
    factors = enumeration([f"{a:.2f} for {name}" for name, a in calibration["scalars"].items()])
    source = "against the noise-free truth"
    if "estimated" in reference:
        source = "to errors that were estimated without truth"
    elif reference != "noise-free":
        source = f"against {reference}"
    return (
        f"The factor ({factors}) was fitted on validation frames {source}: with it, spread and "
        "real error are equally large on average."
    )


def metrics_note(metrics: Mapping[str, Any]) -> list[str]:
    """Return why rows are left out, and where estimates come from; empty if there is a truth."""
    if not lacks_truth(metrics):
        return []
    texts = [
        "There is no noise-free truth for these images. A comparison with the recorded, noisy "
        "images would reward a prediction that keeps their noise, which is part of its input: "
        "numbers that need a truth are left out."
    ]
    if any("psnr_estimated" in scores for scores in metrics["structures"].values()):
        texts.append(
            "Estimated numbers are Stein's unbiased risk estimate: the noise that prediction and "
            "recorded image share is measured with a second prediction, and taken out. Their "
            "ranges are two standard errors and the uncertainty of the noise's variance."
        )
    return texts


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
