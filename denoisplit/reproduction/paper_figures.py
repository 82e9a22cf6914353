"""The figures of the paper, each drawn from finished runs and their frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from denoisplit.config.systems import SYSTEMS
from denoisplit.errors import InputError
from denoisplit.evaluation.calibration import CalibrationCurve
from denoisplit.evaluation.noise_level import noise_levels
from denoisplit.evaluation.risk import PROBE_SAMPLES, probe_frames, squared_errors
from denoisplit.files.json_file import read_json
from denoisplit.images.display import ink
from denoisplit.noise_models.storage import read_fitted
from denoisplit.prediction.frame import Prediction
from denoisplit.prediction.sampling import Sampling
from denoisplit.report.example import CROP
from denoisplit.report.plots import (
    CURVE_QUANTILES,
    NoiseModelRow,
    StructureCalibration,
    noise_models_figure,
    structure_calibrations,
)
from denoisplit.reproduction.drawing.animation import sampling_gif
from denoisplit.reproduction.drawing.paper_panels import (
    denoising_figure,
    samples_figure,
    systems_figure,
    whole_frames_figure,
)
from denoisplit.reproduction.drawing.paper_plots import (
    Line,
    calibration_alone,
    denoising_against_splitting,
    samples_calibration_figure,
)
from denoisplit.reproduction.figure_inputs import FigureInput, View
from denoisplit.run import METRICS, NOISE_MODELS, Run, load_config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

S3_SAMPLES = (2, 5, 10, 15, 50, 200)
S3_KEPT = (1e-4, 1 - 1e-4)  # shares of the pixels between which its curves are drawn
PATCHES = 3


def fig_2(inputs: Sequence[FigureInput], view: View) -> Figure:
    """Draw whole frames: the input, and per structure noisy target, every system and truth."""
    j = view.frame or 0
    inputs[0].check_frame(j)
    return whole_frames_figure(inputs[0].panels(j), _means(inputs, j, view.samples))


def fig_3(subject: FigureInput, view: View) -> Figure:
    """Draw posterior samples of a part of a frame, and the calibration over all frames."""
    j = view.frame or 0
    part = subject.crop(j, view.crop)
    prediction = subject.predict(j, view.samples)
    # an antithetic pair is mirrored about the mean: two such samples would differ too much
    pairs = subject.antithetic and len(prediction.samples) > 2
    return samples_figure(
        subject.panels(j, part),
        prediction.samples[:: 2 if pairs else 1][:2][part],
        prediction.mean[part],
        _curves(subject, view.samples),
        subject.units,
        view.samples,
    )


def fig_4(inputs: Sequence[FigureInput], view: View) -> Figure:
    """Draw the same part of a frame as split by several systems."""
    j = view.frame or 0
    part = inputs[0].crop(j, view.crop)
    means = [(title, mean[part]) for title, mean in _means(inputs, j, view.samples)]
    return systems_figure(inputs[0].panels(j, part), means)


def fig_calibration(subject: FigureInput, view: View) -> Figure:
    """Draw RMSE against RMV of every structure, over all frames."""
    return calibration_alone(_curves(subject, view.samples), subject.units)


def fig_s3(subject: FigureInput, view: View) -> Figure:
    """Draw calibration curves for 2 to `View.samples` samples, with the run's scalars."""
    curves: dict[int, Sequence[CalibrationCurve]] = {}
    for count in (count for count in S3_SAMPLES if count <= view.samples):
        predictions = subject.predict_all(count, f"{count} samples", antithetic=False)
        structures = _calibrations(subject, predictions, S3_KEPT)
        curves[count] = [structure.after for structure in structures]
        subject.forget(count)
    return samples_calibration_figure(subject.run.names, curves, subject.units)


def fig_denoising(inputs: Sequence[FigureInput], view: View) -> Figure:
    """Draw three random patches of every structure, each denoised by its own HDN.

    Structures with frames of one size are shown at the same places.
    """
    for subject in inputs:
        if len(subject.run.names) != 1:
            raise InputError(
                where=subject.run.path,
                found=f"a run of {', '.join(subject.run.names)}",
                expected="a denoiser of one structure (system hdn)",
            )
    patches = []
    rng = np.random.default_rng(view.seed)
    # one from each third of the frames, so that no frame is shown twice if there are three
    for third in rng.permutation(PATCHES):
        share, *place = (third + rng.random()) / PATCHES, *rng.random(2)
        row = []
        for subject in inputs:
            j = int(share * len(subject.frames))
            shape = subject.frames.inputs[j].shape
            side = min(CROP, *shape) if view.crop is None else view.crop[2]
            y, x = (int(s * (n - side + 1)) for s, n in zip(place, shape, strict=True))
            part = subject.crop(j, (y, x, side))
            row.append((subject.panels(j, part), subject.predict(j, view.samples).mean[part]))
        patches.append(row)
    return denoising_figure(patches)


def fig_s2(folders: Sequence[Path]) -> Figure:
    """Draw PSNR over the noise: each structure denoised alone, and split in each of its pairs.

    The numbers are those that the runs in these folders measured in their own evaluations.
    """
    configs = [load_config(folder) for folder in folders]
    split = {name for c in configs if len(c.settings.names) > 1 for name in c.settings.names}
    points: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for folder, config in sorted(
        zip(folders, configs, strict=True), key=lambda run: len(run[1].settings.names)
    ):
        names, title = config.settings.names, SYSTEMS[config.settings.system].title
        label = f"{title}, alone" if len(names) == 1 else f"{title}, {' and '.join(names)}"
        metrics = read_json(folder / METRICS)["structures"]
        for name in names:
            psnr, sem = metrics[name]["psnr"]["mean"], metrics[name]["psnr"]["sem"]
            if psnr is not None and name in split:
                point = (config.facts.gaussian_sigma, psnr, sem or 0.0)
                points.setdefault((name, label), []).append(point)
    if not points:
        raise InputError(
            "none of these runs splits two or more structures and has a PSNR",
            where="figure S2",
            remedy="name runs that split, and denoisers (system hdn) of their structures",
        )
    order = {name: k for k, name in enumerate(dict.fromkeys(name for name, _ in points))}
    lines = [
        Line(name, label, *zip(*sorted(values), strict=True))
        for (name, label), values in sorted(points.items(), key=lambda item: order[item[0][0]])
    ]
    return denoising_against_splitting(lines)


def fig_noise_model(run: Run, subject: FigureInput | None = None) -> Figure:
    """Draw pairs of signal and observation, densities at two signals, and variance per structure.

    The pairs are the frames of ``subject``, or else those that the run keeps. A run keeps none for
    a noise model from a file; the density of the model itself is drawn then.
    """
    system = SYSTEMS[run.config.settings.system]
    if not system.noise_models:
        raise InputError(
            f"a run of {system.title} has no noise models",
            where=run.path,
            remedy="choose a run of denoiSplit or HDN",
        )
    shown = []
    for k, name in enumerate(run.names):
        fitted = read_fitted(run.path / NOISE_MODELS, name)
        signal, observed = [], []
        if subject is not None and subject.frames.has_truth:
            signal = [frame[k] for frame in subject.frames.truth]
            observed = [frame[k] for frame in subject.frames.observed]
        elif fitted.pairs is not None:
            signal, observed = [fitted.pairs.signal], [fitted.pairs.observed]
        shown.append(NoiseModelRow(fitted.model, name, ink(k), signal, observed))
    return noise_models_figure(shown)


def gif_of_samples(subject: FigureInput, view: View) -> bytes:
    """Animate independent posterior samples of a part of one frame, by default a random frame."""
    j, frames = view.frame, len(subject.frames)
    if j is None:
        j = int(np.random.default_rng(view.seed).integers(frames))
    images = subject.panels(j, subject.crop(j, view.crop))
    # only the part is split, so that not every sample of a whole frame has to be kept
    sampling = Sampling(view.samples, subject.seed, False, keep=view.samples)
    samples = subject.split(images.input, sampling).samples
    return sampling_gif(images, samples)


def _means(inputs: Sequence[FigureInput], j: int, samples: int) -> list[tuple[str, Any]]:
    """Return title and posterior mean of each run: its system, or its folder if that is shared."""
    titles = [subject.title for subject in inputs]
    return [
        (s.run.path.name if titles.count(s.title) > 1 else s.title, s.predict(j, samples).mean)
        for s in inputs
    ]


def _curves(subject: FigureInput, samples: int) -> list[StructureCalibration]:
    return _calibrations(subject, subject.predict_all(samples, "predicting"))


def _calibrations(
    subject: FigureInput,
    predictions: Sequence[Prediction],
    keep: tuple[float, float] = CURVE_QUANTILES,
) -> list[StructureCalibration]:
    """Return calibration curves by true errors, or by estimated ones where there is no truth."""
    run, frames, errors = subject.run, subject.frames, None
    if not frames.has_truth:
        if not SYSTEMS[run.config.settings.system].noise_models:
            raise InputError(
                "its images have neither a truth nor noise models, so that no error is known",
                where=run.path,
                remedy="name images and their truth in `structures` and `truth`",
            )
        sampling = Sampling(PROBE_SAMPLES, subject.seed, subject.antithetic)
        probes = probe_frames(
            run.model,
            frames,
            run.noise_models(),
            sampling,
            tile=run.tile,
            halo=run.halo,
            seed=subject.seed,
        )
        means = [p.mean for p in predictions]
        errors = squared_errors(frames, means, probes, noise_levels(frames, means, probes))
    return structure_calibrations(frames, predictions, run.calibration, errors, keep)
