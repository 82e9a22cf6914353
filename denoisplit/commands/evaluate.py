"""``denoisplit evaluate``: how well a run splits images whose structures are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from denoisplit.config.seeds import check_seed
from denoisplit.data.splits import Group, Image, check_registered
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.evaluation.scoring import judge, split_frames
from denoisplit.evaluation.separate_truth import (
    RecordedFrames,
    scenes_of_mixed,
    scenes_of_structures,
    share_offset,
)
from denoisplit.images import Files, Frames, fingerprint, read_frames
from denoisplit.prediction.frame import Sampling
from denoisplit.progress import logger
from denoisplit.run import Run, load

PathLike = str | Path

LOW_CORRELATION = 0.2  # of recorded images with a truth that should explain them


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
    """Split superposed images whose structures are known, and compare.

    Without ``truth``, images of the structures are superposed, noise is added, and the images are
    what the result is compared with. With ``truth``, the images are taken with the noise that they
    were recorded with, and the result is compared with other images of the same fields, such as
    long exposures. These may have any gain and offset: they are fitted to the recorded images, all
    frames together (`denoisplit.evaluation.separate_truth`).

    Parameters
    ----------
    run : Run or path
    structures : mapping of name to files
        The same fields of view of every structure of the run; raw intensities. Frames (Y, X).
    truth : mapping of name to files, optional
        The same fields once more, with little or no noise; any intensity unit. As many frames as
        ``structures`` or ``mixed`` have, of the same sizes.
    mixed : files, optional
        Recorded superpositions in place of ``structures``; raw intensities. Needs ``truth``.
    synthetic_poisson : float, optional
        f, raw intensity per event; the run's own by default. Not beside ``truth``.
    synthetic_gaussian : float, optional
        Level in units of the pooled std that the run stores; the run's own by default. Not beside
        ``truth``.
    samples : int
        Posterior samples per frame.
    seed : int
        Of the samples and of the synthetic noise.

    Returns
    -------
    dict
        ``frames``, ``samples``, ``superposition``, ``reference`` (what was compared with),
        ``structures`` (per name the metrics of `denoisplit.evaluation.scoring.judge`) and their
        ``mean``.

    Raises
    ------
    InputError
        If names, frames or sizes do not fit the run or each other, options exclude each other, or
        a truth is not of the fields that it is given for.
    """
    run = run if isinstance(run, Run) else load(run)
    prediction = run.config.settings.prediction
    sampling = _sampling(samples, seed, antithetic=prediction.antithetic)
    scenes = known_frames(
        run,
        structures,
        truth=truth,
        mixed=mixed,
        synthetic_poisson=synthetic_poisson,
        synthetic_gaussian=synthetic_gaussian,
        seed=seed,
    )
    if truth is None:
        reference = "noise-free" if scenes.has_truth else "the recorded, noisy images"
    else:
        to = "the structures" if mixed is None else "the mixed images, together"
        reference = f"separate images, fitted by gain and offset to {to}"
    predictions = split_frames(
        run.model, scenes, sampling, tile=run.tile, halo=run.halo, label="evaluating"
    )
    if isinstance(scenes, RecordedFrames) and mixed is not None:
        share_offset(scenes, [p.mean for p in predictions])
    found = judge(
        scenes, predictions, run.names, run.calibration, sampling, cell=prediction.judged_cell
    )
    return {"superposition": run.superposition.kind, "reference": reference, **found}


def known_frames(
    run: Run,
    structures: Mapping[str, Files] | None,
    *,
    truth: Mapping[str, Files] | None = None,
    mixed: Files | None = None,
    synthetic_poisson: float | None = None,
    synthetic_gaussian: float | None = None,
    seed: int = 0,
) -> EvaluationFrames:
    """Images whose structures are known, ready to be split and compared; see `evaluate`."""
    noise_given = synthetic_poisson is not None or synthetic_gaussian is not None
    _check_combination(structures, truth, mixed, noise_given=noise_given)
    if truth is not None:
        return _recorded_scenes(run, structures, truth, mixed)
    data, facts = run.config.settings.data, run.config.facts
    return _noisy_scenes(
        run,
        structures or {},
        seed,
        data.synthetic_poisson if synthetic_poisson is None else synthetic_poisson,
        facts.gaussian_sigma
        if synthetic_gaussian is None
        else synthetic_gaussian * facts.pooled_std,
    )


def _check_combination(
    structures: object, truth: object, mixed: object, *, noise_given: bool
) -> None:
    """Refuse options that exclude or need each other."""
    if structures and mixed:
        raise InputError(
            where="--mixed",
            found="superposed images beside --structure",
            expected="one of the two",
            remedy="leave one out",
        )
    if not (structures or mixed):
        raise InputError(
            where="evaluate",
            found="no images to split",
            expected="images of the structures, or superposed ones",
            remedy="give --structure NAME FILES or --mixed FILES",
        )
    if mixed and not truth:
        raise InputError(
            where="--mixed",
            found="no --truth",
            expected="images of each structure to compare with",
            remedy="give --truth NAME FILES; to split without comparing: denoisplit predict",
        )
    if truth and noise_given:
        raise InputError(
            where="--truth",
            found="synthetic noise beside it",
            expected="images with the noise of their recording",
            remedy="leave --synthetic-poisson and --synthetic-gaussian out",
        )


def _noisy_scenes(
    run: Run, structures: Mapping[str, Files], seed: int, factor: float, sigma: float
) -> EvaluationFrames:
    """The structures with synthetic noise; they are their own truth."""
    frames = _frames(run, structures, "--structure")
    images = _images(frames)
    check_registered(images, run.names)
    facts = run.config.facts
    noise = SyntheticNoise(factor, sigma, facts.clip)
    scenes = EvaluationFrames(images, noise, run.superposition, seed=seed, part="evaluation")
    _warn_of_training_images(run, frames)
    logger.info(
        "noise added: Poisson factor %g, Gaussian sigma %g (level %g)",
        noise.poisson_factor,
        sigma,
        sigma / facts.pooled_std,
    )
    return scenes


def _recorded_scenes(
    run: Run,
    structures: Mapping[str, Files] | None,
    truth: Mapping[str, Files],
    mixed: Files | None,
) -> RecordedFrames:
    """Images with their own noise; their truth was recorded apart."""
    known = _frames(run, truth, "--truth")
    clean = _images(known)
    if mixed is None:
        recorded = _frames(run, structures or {}, "--structure")
        images = _images(recorded)
        check_registered(images, run.names)
        for name, t, image in zip(run.names, clean, images, strict=True):
            _check_fields(name, t, image, f"structure {name}")
        scenes = scenes_of_structures(images, clean, run.superposition, clip=run.config.facts.clip)
        _check_gains(run, scenes)
        _warn_of_training_images(run, recorded)
    else:
        together = read_frames(mixed).images
        for name, t in zip(run.names, clean, strict=True):
            _check_fields(name, t, together, "--mixed")
        scenes = scenes_of_mixed(together, clean, run.superposition)
        _check_gains(run, scenes)
    _warn_of_training_images(run, known)
    for name, fit in zip(run.names, scenes.fits, strict=True):
        logger.info(
            "truth of %s: times %.4g, correlation with the recorded images %.2f",
            name,
            fit.gains[0],
            fit.correlation,
        )
        if fit.correlation < LOW_CORRELATION:
            logger.warning(
                "the truth of %s hardly agrees with the recorded images (correlation %.2f): "
                "does it show the same fields?",
                name,
                fit.correlation,
            )
    data, sigma = run.config.settings.data, run.config.facts.gaussian_sigma
    synthetic = SyntheticNoise(data.synthetic_poisson, sigma)
    logger.info(
        "no noise added: the images have that of their recording%s",
        f"; the training had synthetic noise, Poisson factor {data.synthetic_poisson:g} and "
        f"Gaussian sigma {sigma:g}"
        if synthetic
        else "",
    )
    return scenes


def _check_gains(run: Run, scenes: RecordedFrames) -> None:
    for name, fit in zip(run.names, scenes.fits, strict=True):
        if fit.gains[0] <= 0:
            raise InputError(
                where=f"--truth {name}",
                found="frames that are dark where the recorded images are bright",
                expected="the same fields",
                remedy="check the files and their order",
            )


def _sampling(samples: int, seed: int, *, antithetic: bool) -> Sampling:
    check_seed(seed)
    if samples < 1:
        raise InputError(
            where="--samples",
            found=str(samples),
            expected="at least 1",
            remedy="give a larger number",
        )
    return Sampling(samples, seed, antithetic, keep=1)


def _images(frames: Sequence[Frames]) -> Group:
    return tuple(f.images for f in frames)


def _check_fields(name: str, truth: Sequence[Image], images: Sequence[Image], where: str) -> None:
    """Refuse a truth whose frames do not agree in number and size with the images it is of."""
    remedy = "give the same fields of view, in the same order"
    if len(truth) != len(images):
        raise InputError(
            where=f"--truth {name}",
            found=f"{len(truth)} frames",
            expected=f"{len(images)} as in {where}",
            remedy=remedy,
        )
    for j, (t, image) in enumerate(zip(truth, images, strict=True)):
        if t.shape != image.shape:
            raise InputError(
                where=f"--truth {name}, frame {j}",
                found=f"{t.shape[0]} x {t.shape[1]} px",
                expected=f"{image.shape[0]} x {image.shape[1]} px as in {where}",
                remedy=remedy,
            )


def _frames(run: Run, groups: Mapping[str, Files], option: str) -> list[Frames]:
    """The frames of every structure of the run, in its channel order."""
    expected = ", ".join(run.names)
    for name in (*groups, *run.names):
        if name not in run.names or name not in groups:
            raise InputError(
                where=option,
                found=f"the structures {', '.join(groups)}",
                expected=f"those of the run: {expected}",
                remedy="give each of them once",
            )
    return [read_frames(groups[name]) for name in run.names]


def _warn_of_training_images(run: Run, frames: Sequence[Frames]) -> None:
    for name, given in zip(run.names, frames, strict=True):
        trained = {entry["sha256"] for entry in run.config.facts.fingerprints[name]}
        seen = [e["name"] for e in fingerprint(given.files) if e["sha256"] in trained]
        if seen:
            logger.warning(
                "%s was given to the training of this run: most of its frames are no test", seen[0]
            )
