"""Evaluation frames of a run: which frames were held out, and what they look like.

Training, evaluation, export, comparisons and figures take them from here, so that all of them use
the same frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.config.settings import MIXED, RunConfig, Settings
from denoisplit.data.chain_parts import parts_of
from denoisplit.data.prepare import TrainingData, Truth, prepare
from denoisplit.data.splits import Group, Image, Splits, split
from denoisplit.errors import InputError
from denoisplit.evaluation.frames import EvaluationFrames as EvaluationFrames
from denoisplit.evaluation.separate_truth import (
    RecordedFrames,
    check_fits,
    check_sizes,
    linear_fit,
    refuse_same_truth,
    scaled,
    unsaturated,
)
from denoisplit.images import Files, ImageFile, each_of, fingerprint, identity, read_frames
from denoisplit.images.selection import is_there
from denoisplit.run import CONFIG, DENOISERS, Run, load_config

Mask = npt.NDArray[np.bool_]
Fingerprints = Mapping[str, list[dict[str, Any]]]

OTHERWISE = "name images in `structures`"
MOST_PIXELS = 2_000_000  # of training frames that the error map is fitted to


@dataclass(frozen=True)
class Parts:
    """Frames of a run: those to fit to, and those to evaluate on.

    Attributes
    ----------
    training : EvaluationFrames or None
        None if they cannot be superposed.
    validation, test : EvaluationFrames
    """

    training: EvaluationFrames | None
    validation: EvaluationFrames
    test: EvaluationFrames


def parts_of_training(data: TrainingData) -> Parts:
    """Return the frames of a training, with the noise that it adds or the truth that it has."""
    training = None
    if data.can_superpose_training:
        training = frames_of_training(data, "training").thinned(MOST_PIXELS)
    return Parts(training, frames_of_training(data, "validation"), frames_of_training(data, "test"))


def held_out_frames(run: Run, *, otherwise: str = OTHERWISE) -> EvaluationFrames:
    """Return the test frames of a run, with the noise or truth of its own evaluation.

    Parameters
    ----------
    otherwise : str
        What else the user can do if the images are missing, for the error messages.

    Raises
    ------
    InputError
        As `data_of_run`.
    """
    return frames_of_training(data_of_run(run, otherwise=otherwise), "test")


def data_of_run(
    run: Run, *, truth: Mapping[str, Files] | None = None, otherwise: str = OTHERWISE
) -> TrainingData:
    """Prepare the data of a training again, from its images.

    A denoiser inside HDN(+)muSplit has the frames of its chain: those of its structure, or the
    superposed ones.

    Parameters
    ----------
    truth : mapping of name to files, optional
        In place of the truth of the training.
    otherwise : str
        As in `held_out_frames`.

    Raises
    ------
    InputError
        If an image is missing or was changed after the training, the run is a denoiser that was
        moved out of its HDN(+)muSplit run, or the truth does not belong to the images.
    """
    chain = _chain_of(run)
    config = chain or run.config
    settings, facts = config.settings, config.facts
    images = _unchanged(
        run, {s.name: s.files for s in settings.structures}, facts.fingerprints, otherwise
    )
    truths = None
    if truth is not None:
        check_truth(settings, truth)
        truths = [read_frames(truth[name]).images for name in settings.names]
    elif facts.truth:
        files = {s.name: s.truth for s in settings.structures}
        truths = _unchanged(run, files, facts.truth, otherwise)
    # as measured then
    noise = settings.data.model_copy(update={"gaussian_sigma": facts.gaussian_sigma})
    data = prepare(images, settings.model_copy(update={"data": noise}))
    if {part: len(group[0]) for part, group in data.clean._asdict().items()} != facts.frames:
        raise InputError(
            "its images give other numbers of test frames than its training had; a denoiser that "
            "was moved out of its HDN(+)muSplit run has its test frames there",
            where=run.path,
            remedy=f"move it back into the folder {DENOISERS} of that run, or {otherwise}",
        )
    if truths is not None:
        data = with_truth(data, images, truths, settings)
    if chain is not None:
        data = {part.name: part.data for part in parts_of(settings, data)}[run.names[0]]
    return data


def check_truth(settings: Settings, truth: Mapping[str, Files]) -> None:
    """Refuse a truth for a part of the structures, or beside synthetic noise.

    Raises
    ------
    InputError
    """
    if set(truth) != set(settings.names):
        raise InputError(
            where="truth",
            found=f"the structures {', '.join(truth)}",
            expected=f"all of {', '.join(settings.names)}",
            remedy="provide images of each of them",
        )
    data = settings.data
    if data.synthetic_poisson or data.synthetic_gaussian or data.gaussian_sigma:
        raise InputError(
            "synthetic noise is added to the images, which are the truth themselves",
            where="truth",
            remedy="leave `truth` out",
        )


def with_truth(
    data: TrainingData,
    structures: Sequence[Sequence[Image]],
    truth: Sequence[Sequence[Image]],
    settings: Settings,
) -> TrainingData:
    """Return the data of a training with a truth, fitted to the recorded images of all its splits.

    Parameters
    ----------
    structures, truth : [structure][frame] of (Y, X)
        The same fields of view: the images that the data was prepared from, and any unit.

    Raises
    ------
    InputError
        If the truth does not belong to the images.
    """
    names = settings.names
    for name, exposures, recorded in zip(names, truth, structures, strict=True):
        check_sizes(name, exposures, recorded, f"structure {name}")
    refuse_same_truth(names, truth)
    splits = split(truth, names=names, pairing=settings.data.pairing, rule=data.split_rule, patch=1)
    clip = np.inf if data.noise.clip is None else data.noise.clip
    images: list[Group] = []  # of each structure alone, in every split
    masks: list[tuple[tuple[Mask, ...], ...]] = []
    fits = []
    for k, name in enumerate(names):
        parts = [group[k] for group in splits]
        exposures = tuple(frame for part in parts for frame in part)
        recorded = [frame for group in data.clean for frame in group[k]]
        where = unsaturated((exposures,))
        try:
            fit = linear_fit((exposures,), recorded, where)
        except InputError as error:
            raise error.replace(where=f"truth {name}") from error
        fits.append(fit)
        images.append(
            tuple(
                tuple(np.minimum(scaled(f, fit.gains[0], fit.offset), clip) for f in part)
                for part in parts
            )
        )
        remaining = iter(where)
        masks.append(tuple(tuple(next(remaining) for _ in part) for part in parts))
    check_fits(names, fits)
    return replace(
        data,
        truth=Truth(Splits(*zip(*images, strict=True)), Splits(*zip(*masks, strict=True))),
    )


def frames_of_training(data: TrainingData, part: str) -> EvaluationFrames:
    """Return frames of a training, with the noise that it adds or the truth that it has.

    Parameters
    ----------
    part : {"training", "validation", "test"}
    """
    if data.truth is None:
        return EvaluationFrames.of_training(data, part)
    observed, masks = getattr(data, part), getattr(data.truth.unsaturated, part)
    where = [np.logical_and.reduce(frame) for frame in zip(*masks, strict=True)]
    inputs = data.inputs(observed)
    truth = getattr(data.truth.images, part)
    return RecordedFrames(truth, observed, inputs, data.superposition, (), where)


def _chain_of(run: Run) -> RunConfig | None:
    """Return the configuration of the HDN(+)muSplit run around a denoiser, else None."""
    folder = run.path.resolve().parent
    if folder.name != DENOISERS or not (folder.parent / CONFIG).is_file():
        return None
    config = load_config(folder.parent)
    known = config.settings.denoiser is not None and run.names[0] in (*config.settings.names, MIXED)
    return config if known else None


def _unchanged(
    run: Run, files: Mapping[str, Files], fingerprints: Fingerprints, otherwise: str
) -> list[tuple[Image, ...]]:
    """Read images of a training, [structure][frame], and check that they are unchanged."""
    images = []
    for name, paths in files.items():
        for path in each_of(paths):
            if not is_there(ImageFile.of(path).path):
                raise InputError(
                    f"this image of the run {run.path} is missing",
                    where=path,
                    remedy=f"restore it, or {otherwise}",
                )
        frames = read_frames(paths)
        trained = [identity(entry) for entry in fingerprints[name]]
        now = [identity(entry) for entry in fingerprint(frames.files)]
        if now != trained and sorted(now) == sorted(trained):
            # a training of an earlier release took its files in another order
            files_of = dict(zip(now, frames.files, strict=True))
            frames, now = read_frames([files_of[n] for n in trained], keep_order=True), trained
        if now != trained:
            raise InputError(
                f"this is not the image of {name} that {run.path} was trained on",
                where=each_of(paths)[0],
                remedy=f"restore it, or {otherwise}",
            )
        images.append(frames.images)
    return images
