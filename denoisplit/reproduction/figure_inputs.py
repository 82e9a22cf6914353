"""Runs and the frames that they are shown on: what every figure starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from denoisplit.commands.evaluate import known_frames
from denoisplit.config.systems import SYSTEMS
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import OTHERWISE, EvaluationFrames, held_out_frames
from denoisplit.images import Files
from denoisplit.network import VSE
from denoisplit.network.inference import inference_form
from denoisplit.prediction.frame import Prediction, Sampling, predict_frame
from denoisplit.progress import bar
from denoisplit.report.example import CROP, busiest_crop
from denoisplit.reproduction.drawing.paper_panels import Scene
from denoisplit.run import Run

KEPT = 3  # samples: the first of two antithetic pairs

Crop = tuple[int, int, int]  # y and x of its first pixel, and its side


class Subject:
    """A run and frames to show it on.

    Parameters
    ----------
    run : Run
    scenes : EvaluationFrames
    seed : int
        Of the posterior samples.
    """

    def __init__(self, run: Run, scenes: EvaluationFrames, *, seed: int = 0) -> None:
        self.run = run
        self.scenes = scenes
        self.seed = seed
        self._predictions: dict[tuple[int, int, bool], Prediction] = {}

    @property
    def title(self) -> str:
        """Of its system."""
        return SYSTEMS[self.run.config.settings.system].title

    @property
    def antithetic(self) -> bool:
        """Whether the run draws its samples in pairs."""
        return self.run.config.settings.prediction.antithetic

    @property
    def units(self) -> list[float]:
        """Standard deviation of each structure's training targets, raw intensity."""
        return [float(value) for value in self.run.model.target_std.flatten()]

    @cached_property
    def _model(self) -> VSE:
        """The network as prediction runs it, prepared once for all frames."""
        return inference_form(self.run.model)

    def split(self, frame: Any, sampling: Sampling) -> Prediction:
        """Split one image (Y, X) as the run is set to."""
        return predict_frame(self._model, frame, sampling, tile=self.run.tile, halo=self.run.halo)

    def predict(self, j: int, samples: int, *, antithetic: bool | None = None) -> Prediction:
        """Split frame j, once for all figures, with up to `KEPT` of the samples."""
        pairs = self.antithetic if antithetic is None else antithetic
        key = (j, samples, pairs)
        if key not in self._predictions:
            sampling = Sampling(samples, self.seed, pairs, keep=min(KEPT, samples))
            self._predictions[key] = self.split(self.scenes.inputs[j], sampling)
        return self._predictions[key]

    def predict_all(
        self, samples: int, label: str, *, antithetic: bool | None = None
    ) -> list[Prediction]:
        """Split all frames, with one progress bar."""
        found = []
        with bar(label, len(self.scenes)) as progress:
            for j in range(len(self.scenes)):
                found.append(self.predict(j, samples, antithetic=antithetic))
                progress.to(j + 1)
        return found

    def forget(self, samples: int) -> None:
        """Let go of the predictions with so many samples."""
        for key in [key for key in self._predictions if key[1] == samples]:
            del self._predictions[key]

    def crop(self, j: int, crop: Crop | None) -> Any:
        """The part of frame j that is shown, as an index: the busiest one unless it is given.

        Raises
        ------
        InputError
            For a frame that there is not, or a part that is not inside it.
        """
        self.check_frame(j)
        truth = self.scenes.truth[j]
        if crop is None:
            y, x = busiest_crop(truth)
            return np.s_[..., y : y + CROP, x : x + CROP]
        y, x, side = crop
        height, width = truth.shape[1:]
        if min(y, x) < 0 or side < 1 or y + side > height or x + side > width:
            raise InputError(
                where="--crop",
                found=f"{side} px from y = {y}, x = {x}",
                expected=f"a square inside the frame of {height} x {width} px",
                remedy="choose another",
            )
        return np.s_[..., y : y + side, x : x + side]

    def check_frame(self, j: int) -> None:
        """Refuse a frame that there is not."""
        if not 0 <= j < len(self.scenes):
            raise InputError(
                where="--frame",
                found=str(j),
                expected=f"0 to {len(self.scenes) - 1}: there are {len(self.scenes)}",
                remedy="choose one of them",
            )

    def scene(self, j: int, part: Any = np.s_[...]) -> Scene:
        """Frame j, or a part of it."""
        return Scene(
            self.run.names,
            self.scenes.inputs[j][part],
            self.scenes.observed[j][part],
            self.scenes.truth[j][part],
            self.scenes.has_truth,
            self.run.config.facts.pixel_size_um.get("x"),
        )


def subjects_of(
    runs: Sequence[Run],
    structures: Mapping[str, Files] | None = None,
    truth: Mapping[str, Files] | None = None,
    *,
    seed: int = 0,
) -> list[Subject]:
    """Several runs on the same frames: the test frames of the first run, or given ones.

    Parameters
    ----------
    runs : sequence of Run
    structures, truth : mapping of name to files, optional
        Images of each structure, and the same fields free of noise, as of `denoisplit.evaluate`.
    seed : int
        Of posterior samples, and of noise that is added to given images.

    Raises
    ------
    InputError
        If the runs are of different structures, or were not trained with the test frames of the
        first, or images are missing or do not fit.
    """
    scenes = (
        held_out_frames(runs[0])
        if structures is None
        else known_frames(runs[0], structures, truth=truth, seed=seed)
    )
    first = Subject(runs[0], scenes, seed=seed)
    return [first, *(beside(first, run, own=structures is None) for run in runs[1:])]


def beside(first: Subject, run: Run, *, own: bool = True) -> Subject:
    """Another run on the same frames; ``own`` if they are test frames.

    Raises
    ------
    InputError
        If that run is of other structures, or was not trained with these test frames.
    """
    _check_same(first.run, run, own=own)
    return Subject(run, first.scenes, seed=first.seed)


def _check_same(first: Run, other: Run, *, own: bool) -> None:
    """Refuse a run that cannot be shown on the frames of the first."""
    if other.names != first.names or other.superposition != first.superposition:
        raise InputError(
            where=other.path,
            found=f"a run of {', '.join(other.names)} ({other.superposition.kind})",
            expected=f"{', '.join(first.names)} ({first.superposition.kind}) as in {first.path}",
            remedy="choose runs of the same structures",
        )
    if own and _frames_of(other) != _frames_of(first):
        raise InputError(
            where=other.path,
            found=f"other images or other noise than in {first.path}",
            expected="the same test frames",
            remedy=OTHERWISE,
        )


def _frames_of(run: Run) -> tuple[Any, ...]:
    """What makes the test frames of a run."""
    settings, facts = run.config.settings, run.config.facts
    files = [[entry["sha256"] for entry in facts.fingerprints[name]] for name in run.names]
    noise = settings.data.synthetic_poisson, facts.gaussian_sigma, facts.clip
    return files, facts.held_out, noise, settings.seed
