"""``denoisplit evaluate``: score a run on images whose structures are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoisplit.config.everyday import EVALUATE
from denoisplit.config.options import documented
from denoisplit.config.seeds import check_seed
from denoisplit.errors import InputError
from denoisplit.evaluation.known_images import read_known_frames
from denoisplit.evaluation.scoring import predict_frames, score_predictions
from denoisplit.evaluation.separate_truth import RecordedFrames, share_offset
from denoisplit.images import Files
from denoisplit.prediction.sampling import Sampling
from denoisplit.run import Run, load

PathLike = str | Path


@documented(EVALUATE)
def evaluate(
    run: Run | PathLike,
    structures: Mapping[str, Files] | None = None,
    *,
    truth: Mapping[str, Files] | None = None,
    mixed: Files | None = None,
    synthetic_poisson: float | None = None,
    synthetic_gaussian: float | None = None,
    samples: int = 50,
    seed: int = 0,
) -> dict[str, Any]:
    """Split superposed images whose structures are known, and score the result.

    Without ``truth``, images of the structures are superposed and noise is added; the result is
    compared with the images before that. With ``truth``, images are taken with the noise of their
    recording, and the result is compared with other images of the same fields, such as long
    exposures. These may have any gain and offset, which are fitted to the recorded images over all
    frames (`denoisplit.evaluation.separate_truth`).

    Parameters
    ----------
    {options}

    Returns
    -------
    dict
        ``frames``, ``samples``, ``superposition``, ``reference`` (what was compared with),
        ``structures`` (for each name the metrics of
        `denoisplit.evaluation.scoring.score_predictions`) and their ``mean``.

    Raises
    ------
    InputError
        If options exclude each other, or images do not belong to the run or to each other.
    """
    run = run if isinstance(run, Run) else load(run)
    prediction = run.config.settings.prediction
    check_seed(seed)
    if samples < 1:
        raise InputError(
            where="samples",
            found=str(samples),
            expected="at least 1",
            remedy="choose a larger number",
        )
    sampling = Sampling(samples, seed, prediction.antithetic, keep=1)
    frames = read_known_frames(
        run,
        structures,
        truth=truth,
        mixed=mixed,
        synthetic_poisson=synthetic_poisson,
        synthetic_gaussian=synthetic_gaussian,
        seed=seed,
    )
    if truth is None:
        reference = "noise-free" if frames.has_truth else "the recorded, noisy images"
    else:
        fitted_to = "the structures" if mixed is None else "the mixed images, together"
        reference = f"separate images, fitted by gain and offset to {fitted_to}"
    predictions = predict_frames(
        run.model, frames, sampling, tile=run.tile, halo=run.halo, label="evaluating"
    )
    if isinstance(frames, RecordedFrames) and mixed is not None:
        share_offset(frames, [p.mean for p in predictions])
    scores = score_predictions(
        frames, predictions, run.names, run.calibration, sampling, cell=prediction.judged_cell
    )
    return {"superposition": run.superposition.kind, "reference": reference, **scores}
