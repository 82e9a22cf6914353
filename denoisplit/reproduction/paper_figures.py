"""The figures of the paper, each from finished runs and their frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from denoisplit.config.systems import SYSTEMS
from denoisplit.errors import InputError
from denoisplit.evaluation.calibration import CalibrationCurve
from denoisplit.files.json_file import read_json
from denoisplit.noise_models.storage import fit_kept
from denoisplit.prediction.frame import Sampling
from denoisplit.report.example import CROP
from denoisplit.report.plots import Calibrated, Shown, calibrated, noise_models_figure
from denoisplit.report.style import ink
from denoisplit.reproduction.drawing.animation import sampling_gif
from denoisplit.reproduction.drawing.paper_panels import (
    Scene,
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
from denoisplit.reproduction.figure_inputs import Crop, Subject
from denoisplit.run import METRICS, NOISE_MODELS, Run, load_config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = (2, 5, 10, 15, 50, 200)  # of Fig. S.3
S3_KEPT = (1e-4, 1 - 1e-4)
PATCHES = 3
HDN = "hdn"


def fig_2(subjects: Sequence[Subject], *, frame: int = 0, samples: int = 50) -> Figure:
    """Whole frames: input, and per structure noisy target, every system, truth."""
    first = subjects[0]
    first.check_frame(frame)
    return whole_frames_figure(first.scene(frame), _means(subjects, frame, samples))


def fig_3(
    subject: Subject, *, frame: int = 0, crop: Crop | None = None, samples: int = 50
) -> Figure:
    """Posterior samples of a part of a frame, and the calibration over all frames."""
    part = subject.crop(frame, crop)
    found = subject.predict(frame, samples)
    # an antithetic pair mirrors itself about the mean: two such samples would differ too much
    shown = found.samples[:: 2 if subject.antithetic and len(found.samples) > 2 else 1][:2]
    if len(shown) < 2:
        raise InputError(
            where="--samples",
            found=str(samples),
            expected="2 or more",
            remedy="give a larger number",
        )
    return samples_figure(
        subject.scene(frame, part),
        shown[part],
        found.mean[part],
        _curves(subject, samples),
        subject.units,
        samples,
    )


def fig_4(
    subjects: Sequence[Subject], *, frame: int = 0, crop: Crop | None = None, samples: int = 50
) -> Figure:
    """The same part of a frame, as several systems split it."""
    first = subjects[0]
    part = first.crop(frame, crop)
    means = [(title, mean[part]) for title, mean in _means(subjects, frame, samples)]
    return systems_figure(first.scene(frame, part), means)


def fig_calibration(subject: Subject, *, samples: int = 50) -> Figure:
    """RMSE against RMV, every structure, all frames."""
    return calibration_alone(_curves(subject, samples), subject.units)


def fig_s3(subject: Subject, *, samples: Sequence[int] = SAMPLES) -> Figure:
    """Calibration curves for several numbers of independent samples, all with the run's scalars."""
    curves: dict[int, Sequence[CalibrationCurve]] = {}
    for count in samples:
        predictions = subject.predict_all(count, f"{count} samples", antithetic=False)
        found = calibrated(
            subject.scenes, predictions, subject.run.calibration, _noise_models(subject), S3_KEPT
        )
        curves[count] = [structure.after for structure in found]
        subject.forget(count)
    return samples_calibration_figure(subject.run.names, curves, subject.units)


def fig_denoising(
    subjects: Sequence[Subject], *, crop: Crop | None = None, samples: int = 50, seed: int = 0
) -> Figure:
    """Three random patches of every structure, each denoised by its own HDN.

    Structures with frames of one size are shown at the same places.
    """
    for subject in subjects:
        _need(subject, len(subject.run.names) == 1, "a denoiser of one structure (system hdn)")
    patches = []
    rng = np.random.default_rng(seed)
    # one of each third of the frames, so that no frame is shown twice where there are three
    for third in rng.permutation(PATCHES):
        share, *where = (third + rng.random()) / PATCHES, *rng.random(2)
        row: list[tuple[Scene, Any]] = []
        for subject in subjects:
            j = int(share * len(subject.scenes))
            height, width = subject.scenes.inputs[j].shape
            side = min(CROP, height, width) if crop is None else crop[2]
            y, x = (int(s * (n - side + 1)) for s, n in zip(where, (height, width), strict=True))
            part = subject.crop(j, (y, x, side))
            row.append((subject.scene(j, part), subject.predict(j, samples).mean[part]))
        patches.append(row)
    return denoising_figure(patches)


def fig_s2(folders: Sequence[Path]) -> Figure:
    """PSNR over the noise: denoising of each structure alone, and splitting in each of its pairs.

    From the metrics that the runs in these folders found in their own evaluations.
    """
    configs = [load_config(folder) for folder in folders]
    split = {name for c in configs if len(c.settings.names) > 1 for name in c.settings.names}
    points: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for folder, config in sorted(
        zip(folders, configs, strict=True), key=lambda run: len(run[1].settings.names)
    ):
        names, title = config.settings.names, SYSTEMS[config.settings.system].title
        label = f"{title}, alone" if len(names) == 1 else f"{title}, {' and '.join(names)}"
        found = read_json(folder / METRICS)["structures"]
        for name in names:
            psnr, sem = found[name]["psnr"]["mean"], found[name]["psnr"]["sem"]
            if psnr is not None and name in split:
                point = (config.facts.gaussian_sigma, psnr, sem or 0.0)
                points.setdefault((name, label), []).append(point)
    if not points:
        raise InputError(
            where="figure S2",
            found="no run of two or more structures with a PSNR",
            expected="runs that split, and denoisers (system hdn) of their structures",
            remedy="name their folders",
        )
    order = {name: k for k, name in enumerate(dict.fromkeys(name for name, _ in points))}
    lines = [
        Line(name, label, *zip(*sorted(values), strict=True))
        for (name, label), values in sorted(points.items(), key=lambda item: order[item[0][0]])
    ]
    return denoising_against_splitting(lines)


def fig_noise_model(run: Run, subject: Subject | None = None) -> Figure:
    """Signal and observation, densities at two signals and variance, of every structure.

    The pairs are the frames of the subject, or else those that the run keeps; of a noise model from
    a file it keeps none, and the density of the model itself is shown.
    """
    if not has_noise_models(run):
        raise InputError(
            where=run.path,
            found=f"a run of {SYSTEMS[run.config.settings.system].title}",
            expected="one with noise models",
            remedy="choose a run of denoisplit or hdn",
        )
    shown = []
    for k, name in enumerate(run.names):
        fitted = fit_kept(run.path / NOISE_MODELS, name)
        signal, observed = [], []
        if subject is not None and subject.scenes.has_truth:
            signal = [frame[k] for frame in subject.scenes.truth]
            observed = [frame[k] for frame in subject.scenes.observed]
        elif fitted.pairs is not None:
            signal, observed = [fitted.pairs.signal], [fitted.pairs.observed]
        shown.append(Shown(fitted.model, name, ink(k), signal, observed))
    return noise_models_figure(shown)


def gif_of_samples(
    subject: Subject,
    *,
    frame: int | None = None,
    crop: Crop | None = None,
    samples: int = 50,
    seed: int = 0,
) -> bytes:
    """Independent posterior samples of a part of one frame, a random one unless it is said."""
    j = int(np.random.default_rng(seed).integers(len(subject.scenes))) if frame is None else frame
    part = subject.crop(j, crop)
    scene = subject.scene(j, part)
    # the part alone is split: not every sample of a whole frame has to be kept
    found = subject.split(scene.input, Sampling(samples, subject.seed, False, keep=samples))
    return sampling_gif(scene.names, scene.input, found.samples, scene.truth, scene.pixel_size_um)


def has_noise_models(run: Run) -> bool:
    """Whether a run keeps noise models that can be drawn."""
    return SYSTEMS[run.config.settings.system].noise_models


def _means(subjects: Sequence[Subject], frame: int, samples: int) -> list[tuple[str, Any]]:
    """Posterior mean of each subject, named by its system, or its folder if several have that."""
    titles = [subject.title for subject in subjects]
    return [
        (s.run.path.name if titles.count(s.title) > 1 else s.title, s.predict(frame, samples).mean)
        for s in subjects
    ]


def _curves(subject: Subject, samples: int) -> list[Calibrated]:
    predictions = subject.predict_all(samples, "predicting")
    return calibrated(subject.scenes, predictions, subject.run.calibration, _noise_models(subject))


def _noise_models(subject: Subject) -> Any:
    return subject.run.noise_models() if has_noise_models(subject.run) else []


def _need(subject: Subject, fits: bool, expected: str) -> None:
    if not fits:
        raise InputError(
            where=subject.run.path,
            found=f"a run of {', '.join(subject.run.names)}",
            expected=expected,
            remedy="choose another",
        )
