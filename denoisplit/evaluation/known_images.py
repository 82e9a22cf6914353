"""Read images whose structures are known, to judge a run on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from denoisplit.data.pairing import check_together, refuse_same, warn_of_numbers
from denoisplit.data.splits import Group, check_registered
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.separate_truth import (
    RecordedFrames,
    check_fits,
    check_sizes,
    frames_from_mixed,
    frames_from_structures,
    refuse_same_truth,
)
from denoisplit.images import Files, Frames, fingerprint, identity, read_frames
from denoisplit.jobs.inputs import warn_of_pixel_size
from denoisplit.progress import logger
from denoisplit.run import Run


def read_known_frames(
    run: Run,
    structures: Mapping[str, Files] | None,
    *,
    truth: Mapping[str, Files] | None = None,
    mixed: Files | None = None,
    synthetic_poisson: float | None = None,
    synthetic_gaussian: float | None = None,
    seed: int = 0,
) -> EvaluationFrames:
    """Read images whose structures are known, ready to be split; see `denoisplit.evaluate`.

    Raises
    ------
    InputError
        If options exclude or need each other, or images do not belong to the run or to each other.
    """
    has_noise = synthetic_poisson is not None or synthetic_gaussian is not None
    _check_combination(structures, truth, mixed, has_noise=has_noise)
    if truth is not None:
        return _recorded_frames(run, structures, truth, mixed)
    data, facts = run.config.settings.data, run.config.facts
    factor = data.synthetic_poisson if synthetic_poisson is None else synthetic_poisson
    sigma = facts.gaussian_sigma
    if synthetic_gaussian is not None:
        sigma = synthetic_gaussian * facts.pooled_std
    return _noisy_frames(run, structures or {}, SyntheticNoise(factor, sigma, facts.clip), seed)


def _check_combination(
    structures: object, truth: object, mixed: object, *, has_noise: bool
) -> None:
    """Refuse options that exclude or need each other."""
    if structures and mixed:
        raise InputError(
            "`structures` and `mixed` cannot both be given", remedy="leave one of them out"
        )
    if not (structures or mixed):
        raise InputError(
            "there are no images to evaluate on", remedy="provide `structures` or `mixed`"
        )
    if mixed and not truth:
        raise InputError(
            "`mixed` needs images of each structure to compare with",
            remedy="provide `truth`, or split without comparing with `denoisplit predict`",
        )
    if truth and has_noise:
        raise InputError(
            "no synthetic noise is added to images that are compared with `truth`",
            remedy="leave `synthetic_poisson` and `synthetic_gaussian` out",
        )


def _noisy_frames(
    run: Run, structures: Mapping[str, Files], noise: SyntheticNoise, seed: int
) -> EvaluationFrames:
    """Add synthetic noise to the structures, which are their own truth."""
    recorded = _read(run, structures, "structures")
    images = _images(recorded)
    check_registered(images, run.names)
    frames = EvaluationFrames(images, noise, run.superposition, seed=seed, part="evaluation")
    _warn_of_training_images(run, recorded)
    logger.info(
        "noise added: Poisson factor %g, Gaussian sigma %g (level %g)",
        noise.poisson_factor,
        noise.gaussian_sigma,
        noise.gaussian_sigma / run.config.facts.pooled_std,
    )
    return frames


def _recorded_frames(
    run: Run,
    structures: Mapping[str, Files] | None,
    truth: Mapping[str, Files],
    mixed: Files | None,
) -> RecordedFrames:
    """Take images with their own noise, and a truth that was recorded separately."""
    clean = _read(run, truth, "truth")
    truths = _images(clean)
    refuse_same_truth(run.names, truths)
    if mixed is None:
        recorded = _read(run, structures or {}, "structures")
        images = _images(recorded)
        check_registered(images, run.names)
        for structure, exposures in zip(recorded, clean, strict=True):
            warn_of_numbers(structure, exposures)
        for name, frames, expected in zip(run.names, truths, images, strict=True):
            check_sizes(name, frames, expected, f"structure {name}")
        known = frames_from_structures(
            images, truths, run.superposition, clip=run.config.facts.clip
        )
        check_fits(run.names, known.fits)
        _warn_of_training_images(run, recorded)
    else:
        inputs = read_frames(mixed)
        refuse_same([inputs], ["`mixed`"], distinct=False)
        warn_of_pixel_size(run, inputs.files[0], inputs.pixel_size_um)
        warn_of_numbers(inputs, clean[0])
        superposed = inputs.images
        for name, frames in zip(run.names, truths, strict=True):
            check_sizes(name, frames, superposed, "`mixed`")
        known = frames_from_mixed(superposed, truths, run.superposition)
        check_fits(run.names, known.fits)
    _warn_of_training_images(run, clean)
    poisson, sigma = run.config.settings.data.synthetic_poisson, run.config.facts.gaussian_sigma
    logger.info(
        "no noise added: the images are taken as recorded%s",
        f"; the run was trained with synthetic noise, Poisson factor {poisson:g} and "
        f"Gaussian sigma {sigma:g}"
        if SyntheticNoise(poisson, sigma)
        else "",
    )
    return known


def _read(run: Run, files: Mapping[str, Files], argument: str) -> list[Frames]:
    """Read the frames of every structure of the run, in its channel order."""
    if set(files) != set(run.names):
        raise InputError(
            where=argument,
            found=f"the structures {', '.join(files)}",
            expected=f"those of the run: {', '.join(run.names)}",
            remedy="provide images of each of them",
        )
    frames = [read_frames(files[name]) for name in run.names]
    if argument == "structures":
        check_together(frames, run.names)
    warn_of_pixel_size(run, frames[0].files[0], frames[0].pixel_size_um)
    return frames


def _images(frames: Sequence[Frames]) -> Group:
    return tuple(f.images for f in frames)


def _warn_of_training_images(run: Run, frames: Sequence[Frames]) -> None:
    for name, given in zip(run.names, frames, strict=True):
        trained = {identity(entry) for entry in run.config.facts.fingerprints[name]}
        for entry in fingerprint(given.files):
            if identity(entry) in trained:
                logger.warning(
                    "%s was used to train this run: most of its frames are no independent test",
                    entry["name"],
                )
                break
