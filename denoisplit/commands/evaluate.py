"""``denoisplit evaluate``: score a run on images whose structures are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from denoisplit.commands.arrays import takes_arrays
from denoisplit.config.everyday import EVALUATE
from denoisplit.config.options import documented
from denoisplit.config.seeds import check_seed
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.evaluation.error_bars import COVERAGE
from denoisplit.evaluation.judge import judge_frames, judge_of, score_judged, stored_groups
from denoisplit.evaluation.known_images import read_known_frames
from denoisplit.images import Files, ImageFile, each_of
from denoisplit.progress import logger
from denoisplit.run import Run, load
from denoisplit.version import __version__

PathLike = str | Path


@takes_arrays("structures", "truth", "mixed")
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
    progress: bool = True,
) -> dict[str, Any]:
    """Split superposed images whose structures are known, and score the result.

    Without ``truth``, images of the structures are superposed and noise is added; the result is
    compared with the images before that. Where no noise is added, its error is estimated without a
    truth (`denoisplit.evaluation.risk`). With ``truth``, images are taken with the noise of their
    recording, and the result is compared with other images of the same fields, such as long
    exposures. These may have any gain and offset, which are fitted to the recorded images over all
    frames (`denoisplit.evaluation.separate_truth`).

    Parameters
    ----------
    {options}

    Returns
    -------
    dict
        ``denoisplit`` (release), ``run`` and ``input`` (names), ``frames``, ``samples``,
        ``superposition``, ``reference`` (what was compared with), ``structures``, their ``mean``,
        ``verdicts`` and ``error_bars``; see `denoisplit.evaluation.judge.score_judged`.

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
    frames = read_known_frames(
        run,
        structures,
        truth=truth,
        mixed=mixed,
        synthetic_poisson=synthetic_poisson,
        synthetic_gaussian=synthetic_gaussian,
        seed=seed,
    )
    judge = replace(judge_of(run), seed=seed)
    trained, facts = run.config.settings.data, run.config.facts
    if SyntheticNoise(trained.synthetic_poisson, facts.gaussian_sigma) and not frames.has_truth:
        judge = replace(judge, noise_models=[])  # they describe the noise that was added
    if not judge.can_judge(frames):
        logger.warning(
            "errors can be neither known nor estimated: there is no truth, and the run has no "
            "noise models of these images; provide `truth`"
        )
    sampling = judge.sampling(samples, keep=1)
    groups = stored_groups(run)
    judged = judge_frames(
        judge, frames, sampling, run.mapping(COVERAGE if groups else None), groups
    )
    scores = score_judged(
        judge, frames, judged, run.calibration, sampling, cell=prediction.judged_cell
    )
    images = structures or {"mixed": mixed or (), **(truth or {})}
    return {
        "denoisplit": __version__,
        "run": run.path.resolve().name,
        "input": {
            name: [ImageFile.of(f).name for f in each_of(some)] for name, some in images.items()
        },
        "superposition": run.superposition.kind,
        "reference": frames.reference,
        **scores,
    }
