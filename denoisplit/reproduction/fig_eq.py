"""Eq. 3 against Eq. 4: how much of the input's noise is left with either form of the KL.

The data term rewards copying the input's noise, which is in the targets too; the bottleneck
penalises it. The same network is therefore trained twice on the same noisy images, with the KL of
muSplit (Eq. 3, mean over latent elements) and with that of denoiSplit (Eq. 4, sum per pixel).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import held_out_frames
from denoisplit.evaluation.metrics import average_over_frames, noise_left, psnr_if_defined
from denoisplit.evaluation.scoring import predict_frames
from denoisplit.prediction.sampling import Sampling
from denoisplit.reproduction.level_figure import LevelFigure, LevelScore, Quantity, Variant
from denoisplit.run import load

EQ_SYSTEM = "altered_musplit"  # with a Gaussian data term, as muSplit, and without context
EQ_SAMPLES = 16


def settings_of_form(form: str, structures: int) -> dict[str, Any]:
    """Return the settings of a training with a form of the KL, "eq3" or "eq4"."""
    if structures < 2:
        raise InputError("EQ needs two or more structures", where="structures")
    objective: dict[str, Any] = {"kl_form": form}
    if form == "eq3":  # as in muSplit: weight 1 beside a data term that is a mean over structures
        objective |= {"free_bits": 0.0, "beta": float(structures)}
    return {"system": EQ_SYSTEM, "objective": objective}


def noise_left_by(folder: Path) -> list[LevelScore]:
    """Measure the share of the input's noise left in a run's test frames, and the PSNR."""
    run = load(folder)
    settings = run.config.settings
    frames = held_out_frames(run)
    sampling = Sampling(EQ_SAMPLES, settings.seed, settings.prediction.antithetic)
    predictions = predict_frames(
        run.model, frames, sampling, tile=run.tile, halo=run.halo, label="measuring"
    )
    # a sum has the noise of all structures: it is compared as their mean
    scale = run.superposition.scale * len(settings.names)
    inputs = zip(frames.inputs, frames.clean_inputs, strict=True)
    noises = [(noisy - clean) / scale for noisy, clean in inputs]
    scores = []
    for k, name in enumerate(settings.names):
        pairs = [(t[k], p.mean[k]) for t, p in zip(frames.truth, predictions, strict=True)]
        left = [noise_left(mean - t, n) for (t, mean), n in zip(pairs, noises, strict=True)]
        psnr = [psnr_if_defined(t, mean) for t, mean in pairs]
        values = {"left": average_over_frames(left), "psnr": average_over_frames(psnr)}
        level, form = settings.data.synthetic_gaussian, settings.objective.kl_form
        scores.append(LevelScore(level, form, name, values))
    return scores


FIG_EQ = LevelFigure(
    name="EQ",
    compared="form",
    prefix="",
    corner="noise",
    levels=(1.0, 2.0, 4.0),
    above_zero=True,
    variants={
        "eq3": Variant("Eq. 3", "Eq. 3", "KL of Eq. 3"),
        "eq4": Variant("Eq. 4", "Eq. 4", "KL of Eq. 4"),
    },
    quantities=(
        Quantity("left", "left_sem", "noise left (%)", "left, ", percent=True),
        Quantity("psnr", "psnr_sem", "PSNR (dB)", "PSNR, "),
    ),
    settings=settings_of_form,
    measure=lambda folders: [score for folder in folders for score in noise_left_by(folder)],
)
