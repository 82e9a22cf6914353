"""Runs and the frames that figures show them on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from denoisplit.config.settings import RunConfig
from denoisplit.config.systems import SYSTEMS
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import OTHERWISE, EvaluationFrames, held_out_frames
from denoisplit.evaluation.known_images import read_known_frames
from denoisplit.images import Files, identity
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.prediction.frame import Prediction, predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.progress import bar
from denoisplit.report.example import CROP, busiest_crop
from denoisplit.reproduction.drawing.paper_panels import PanelImages
from denoisplit.run import Run

KEPT_SAMPLES = 3  # the first of two antithetic pairs are samples 0 and 2

Crop = tuple[int, int, int]  # y and x of its first pixel, and its side, px


@dataclass(frozen=True)
class View:
    """What a figure shows of its frames."""

    frame: int | None = None  # number from 0; None: the first, or a random one in an animation
    crop: Crop | None = None  # part of the frame; None: the part of most contrast
    samples: int = 50  # posterior samples, 2 or more
    seed: int = 0  # of random choices

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise InputError(where="samples", found=f"{self.samples}", expected="at least 2")


class FigureInput:
    """A run and the frames that it is shown on; the seed is that of the posterior samples."""

    def __init__(self, run: Run, frames: EvaluationFrames, *, seed: int = 0) -> None:
        self.run = run
        self.frames = frames
        self.seed = seed
        self._predictions: dict[tuple[int, int, bool], Prediction] = {}

    @property
    def title(self) -> str:
        """Title of the run's system."""
        return SYSTEMS[self.run.config.settings.system].title

    @property
    def antithetic(self) -> bool:
        """Whether the run draws its samples in antithetic pairs."""
        return self.run.config.settings.prediction.antithetic

    @property
    def units(self) -> list[float]:
        """Standard deviation of each structure's training targets, raw intensity."""
        return [float(value) for value in self.run.model.target_std.flatten()]

    @cached_property
    def _model(self) -> VSE:
        """The network as prediction runs it, prepared once for all frames."""
        return inference_form(self.run.model)

    def with_run(self, run: Run, *, test_frames: bool = True) -> FigureInput:
        """Return another run on the same frames.

        ``test_frames`` is whether these are test frames, which both runs have to share, or given
        images.

        Raises
        ------
        InputError
            If that run is of other structures, or was not trained with these test frames.
        """
        one, other = self.run, run
        if other.names != one.names or other.superposition != one.superposition:
            raise InputError(
                where=other.path,
                found=f"a run of {', '.join(other.names)} ({other.superposition.kind})",
                expected=f"{', '.join(one.names)} ({one.superposition.kind}) as in {one.path}",
                remedy="choose runs of the same structures",
            )
        if test_frames and _test_frames(other.config) != _test_frames(one.config):
            raise InputError(
                f"the test frames have other images or other noise than in {one.path}",
                where=other.path,
                remedy=OTHERWISE,
            )
        return FigureInput(other, self.frames, seed=self.seed)

    def split(self, frame: Any, sampling: Sampling) -> Prediction:
        """Split one image (Y, X) with the tiling of the run."""
        return predict_frame(self._model, frame, sampling, tile=self.run.tile, halo=self.run.halo)

    def predict(self, j: int, samples: int, *, antithetic: bool | None = None) -> Prediction:
        """Split frame j, once for all figures, with up to `KEPT_SAMPLES` of the samples."""
        pairs = self.antithetic if antithetic is None else antithetic
        key = (j, samples, pairs)
        if key not in self._predictions:
            sampling = Sampling(samples, self.seed, pairs, keep=min(KEPT_SAMPLES, samples))
            self._predictions[key] = self.split(self.frames.inputs[j], sampling)
        return self._predictions[key]

    def predict_all(
        self, samples: int, label: str, *, antithetic: bool | None = None
    ) -> list[Prediction]:
        """Split all frames, with one progress bar."""
        predictions = []
        with bar(label, len(self.frames)) as progress:
            for j in range(len(self.frames)):
                predictions.append(self.predict(j, samples, antithetic=antithetic))
                progress.to(j + 1)
        return predictions

    def forget(self, samples: int) -> None:
        """Free the predictions that have this number of samples."""
        for key in [key for key in self._predictions if key[1] == samples]:
            del self._predictions[key]

    def crop(self, j: int, crop: Crop | None) -> Any:
        """Return the index of a part of frame j; of the busiest part if none is given.

        Raises
        ------
        InputError
            If the frame does not exist, or the part is not inside it.
        """
        self.check_frame(j)
        truth = self.frames.truth[j]
        y, x, side = (*busiest_crop(truth), CROP) if crop is None else crop
        height, width = truth.shape[1:]
        if crop and (min(y, x) < 0 or side < 1 or y + side > height or x + side > width):
            raise InputError(
                where="crop",
                found=f"{side} px from y = {y}, x = {x}",
                expected=f"a square inside the frame of {height} x {width} px",
            )
        return np.s_[..., y : y + side, x : x + side]

    def check_frame(self, j: int) -> None:
        """Raise an `InputError` if there is no frame j."""
        if not 0 <= j < len(self.frames):
            raise InputError(where="frame", found=f"{j}", expected=f"0 to {len(self.frames) - 1}")

    def panels(self, j: int, part: Any = np.s_[...]) -> PanelImages:
        """Return the images of frame j, or of a part of it."""
        return PanelImages(
            self.run.names,
            self.frames.inputs[j][part],
            self.frames.observed[j][part],
            self.frames.truth[j][part],
            self.frames.has_truth,
            self.run.config.facts.pixel_size_um.get("x"),
        )


def inputs_of(
    runs: Sequence[Run],
    structures: Mapping[str, Files] | None = None,
    truth: Mapping[str, Files] | None = None,
    *,
    seed: int = 0,
) -> list[FigureInput]:
    """Return runs on the same frames: the test frames of the first run, or given images.

    Parameters
    ----------
    runs : sequence of Run
    structures, truth : mapping of name to files, optional
        Images of each structure, and the same fields free of noise, as for `denoisplit.evaluate`.
    seed : int
        Of posterior samples, and of noise that is added to given images.

    Raises
    ------
    InputError
        If the runs are of different structures, or were not trained with the test frames of the
        first, or images are missing or unsuitable.
    """
    frames = (
        held_out_frames(runs[0])
        if structures is None
        else read_known_frames(runs[0], structures, truth=truth, seed=seed)
    )
    first = FigureInput(runs[0], frames, seed=seed)
    return [first, *(first.with_run(run, test_frames=structures is None) for run in runs[1:])]


def image_hashes(config: RunConfig, names: Sequence[str]) -> list[list[tuple[str, int, int]]]:
    """Return what identifies the images of structures, [structure][file]."""
    return [[identity(entry) for entry in config.facts.fingerprints[name]] for name in names]


def _test_frames(config: RunConfig) -> tuple[Any, ...]:
    """Return what determines the test frames of a run."""
    settings, facts = config.settings, config.facts
    noise = settings.data.synthetic_poisson, facts.gaussian_sigma, facts.clip
    return image_hashes(config, settings.names), facts.held_out, noise, settings.seed
