"""Table of the training images in the model card: what users compare their images with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from denoisplit.config.systems import SYSTEMS
from denoisplit.noise_models import GaussianMixture
from denoisplit.run import Run

UNKNOWN = "unknown"
SIGNALS = 64  # at which a noise model is read off


def facts_table(run: Run, pixel_size_um: Mapping[str, float], steps: int | None) -> str:
    """Return the facts of the training images as a table in Markdown, from the run alone."""
    facts, settings = run.config.facts, run.config.settings
    mean, spread = facts.input_frame_mean
    sides = [pixel_size_um[axis] for axis in ("y", "x") if axis in pixel_size_um]
    sizes = [f"{height} x {width} px" for height, width in facts.frame_sizes]
    rows = {
        "pixel size (y, x)": " x ".join(f"{side:.4g}" for side in sides) + " µm" * bool(sides),
        "size of the frames (y, x)": " to ".join(dict.fromkeys((*sizes[:1], *sizes[-1:]))),
        "number of frames": ", ".join(f"{n} for {part}" for part, n in facts.frames.items()),
        "input: mean": f"{mean:.4g}, standard deviation between frames {spread:.2g}",
        "input: range": "" if facts.input_range is None else _range(*facts.input_range),
        "input: noise (standard deviation)": f"{facts.input_noise_std:.3g}",
    }
    statistics = zip(run.names, run.model.target_mean, run.model.target_std, strict=True)
    for name, centre, width in statistics:
        rows[f"{name}: mean"] = f"{centre:.4g}, standard deviation {width:.3g}"
    if SYSTEMS[settings.system].noise_models:
        for name, model in zip(run.names, run.noise_models(), strict=True):
            rows[f"{name}: range of the signal"] = _range(
                model.min_signal.item(), model.max_signal.item()
            )
            rows[f"{name}: noise"] = "gain {:.3g}, read noise {:.3g}".format(*gain_and_read(model))
    added = settings.data.synthetic_poisson, facts.gaussian_sigma
    rows["noise added in the training"] = (
        f"Poisson noise of gain {added[0]:.3g}, Gaussian noise of standard deviation {added[1]:.3g}"
        if any(added)
        else "none: the recorded noise"
    )
    rows["length of the training"] = f"{steps} steps" if steps else ""
    lines = [f"| {name} | {text or UNKNOWN} |" for name, text in rows.items()]
    return "\n".join(["| training images (intensities in camera units) | |", "|---|---|", *lines])


def gain_and_read(model: GaussianMixture) -> tuple[float, float]:
    """Return the gain of a noise model, and its standard deviation at the darkest signal.

    The gain is the slope of the variance over the signal, by least squares, in units of intensity.
    """
    with torch.no_grad():
        signals = torch.linspace(model.min_signal.item(), model.max_signal.item(), SIGNALS)
        variances = model.variance(signals).double().numpy()
    slope, _ = np.polyfit(signals.double().numpy(), variances, 1)
    return float(slope), float(np.sqrt(variances[0]))


def _range(low: float, high: float) -> str:
    return f"{low:.4g} to {high:.4g}"
