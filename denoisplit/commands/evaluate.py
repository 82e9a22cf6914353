"""``denoisplit evaluate``: how well a run splits images whose structures are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from denoisplit.commands.options import check_seed
from denoisplit.data.noise import SyntheticNoise
from denoisplit.data.splits import check_registered
from denoisplit.errors import InputError
from denoisplit.evaluation import Scenes, judge, predict_scenes
from denoisplit.images import Frames, fingerprint, read_frames
from denoisplit.prediction import Sampling
from denoisplit.progress import logger
from denoisplit.run import Run, load

PathLike = str | Path


def evaluate(
    run: Run | PathLike,
    structures: Mapping[str, Sequence[PathLike]],
    *,
    synthetic_poisson: float | None = None,
    synthetic_gaussian: float | None = None,
    samples: int = 50,
    seed: int = 0,
) -> dict[str, Any]:
    """Superpose images of the structures, add noise, split, and compare with the images.

    Parameters
    ----------
    run : Run or path
    structures : mapping of name to files
        The same fields of view of every structure of the run; raw intensities.
    synthetic_poisson : float, optional
        f, raw intensity per event; the run's own by default.
    synthetic_gaussian : float, optional
        Level in units of the pooled std that the run stores; the run's own by default.
    samples : int
        Posterior samples per frame.
    seed : int
        Of the samples and of the synthetic noise.

    Returns
    -------
    dict
        ``frames``, ``samples``, ``superposition``, ``structures`` (per name the metrics of
        `denoisplit.evaluation.judge`) and their ``mean``.

    Raises
    ------
    InputError
        If names, frames or sizes do not fit the run.
    """
    run = run if isinstance(run, Run) else load(run)
    prediction = run.config.settings.prediction
    sampling = _sampling(samples, seed, antithetic=prediction.antithetic)
    frames = _frames(run, structures)
    facts, data = run.config.facts, run.config.settings.data
    level = data.synthetic_gaussian if synthetic_gaussian is None else synthetic_gaussian
    factor = data.synthetic_poisson if synthetic_poisson is None else synthetic_poisson
    noise = SyntheticNoise(factor, level * facts.pooled_std, facts.clip)
    scenes = Scenes(
        tuple(f.images for f in frames), noise, run.superposition, seed=seed, part="evaluation"
    )
    logger.info(
        "noise added: Poisson factor %g, Gaussian sigma %g (level %g)",
        noise.poisson_factor, noise.gaussian_sigma, level,
    )  # fmt: skip
    predictions = predict_scenes(
        run.model, scenes, sampling, tile=prediction.tile, halo=prediction.halo, label="evaluating"
    )
    found = judge(scenes, predictions, run.names, run.calibration, sampling)
    return {"superposition": data.superposition, **found}


def _sampling(samples: int, seed: int, *, antithetic: bool) -> Sampling:
    check_seed(seed)
    if samples < 1:
        raise InputError("--samples", str(samples), "at least 1", "give a larger number")
    return Sampling(samples, seed, antithetic, keep=1)


def _frames(run: Run, structures: Mapping[str, Sequence[PathLike]]) -> list[Frames]:
    """The frames of every structure of the run, in its channel order."""
    expected = ", ".join(run.names)
    for name in (*structures, *run.names):
        if name not in run.names or name not in structures:
            raise InputError(
                "--structure", f"the structures {', '.join(structures)}",
                f"those of the run: {expected}", "give each of them once",
            )  # fmt: skip
    frames = [read_frames(structures[name]) for name in run.names]
    check_registered([f.images for f in frames], run.names)
    for name, given in zip(run.names, frames, strict=True):
        trained = {entry["sha256"] for entry in run.config.facts.fingerprints[name]}
        seen = [e["name"] for e in fingerprint(given.files) if e["sha256"] in trained]
        if seen:
            logger.warning(
                "%s was given to the training of this run: most of its frames are no test", seen[0]
            )
    return frames
