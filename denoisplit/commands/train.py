"""``denoisplit train``: images of the structures -> a run folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import denoisplit
from denoisplit.atomic import new_folder, not_written, write_json
from denoisplit.commands.train_settings import (
    check_same_images,
    check_same_settings,
    files_of,
    settings_values,
)
from denoisplit.config import FORMAT_VERSION, Facts, RunConfig, Settings, settings_from
from denoisplit.data.prepare import TrainingData, prepare
from denoisplit.data.splits import frames_held_out
from denoisplit.data.statistics import content_quantum, noise_std
from denoisplit.errors import InputError
from denoisplit.evaluation import Scenes, calibrate_on, judge, predict_scenes
from denoisplit.halo import SAME, chosen, halo_errors
from denoisplit.images import Files, Frames, fingerprint, read_frames, read_scenes
from denoisplit.network import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.fitted import Fitted, fit_kept, keep
from denoisplit.noise_models.routes import noise_models_at_hand, remaining_noise_models
from denoisplit.parallel import team, wait_until
from denoisplit.prediction import Sampling
from denoisplit.progress import logger
from denoisplit.report.page import REPORT, write_report
from denoisplit.run import (
    CALIBRATION,
    CHECKPOINTS,
    CONFIG,
    HISTORY,
    METRICS,
    NOISE_MODELS,
    WEIGHTS,
    Run,
    build_network,
    load,
    load_config,
    load_weights,
    noise_model_path,
    ready_to_predict,
    save_config,
    save_weights,
    write_calibration,
)
from denoisplit.systems import SYSTEMS
from denoisplit.training import fit

PathLike = str | Path
LIBRARIES = ("torch", "lightning", "numpy", "xarray", "tifffile", "safetensors", "pydantic")


def train(
    structures: Mapping[str, Files] | None = None,
    output: PathLike = "run",
    *,
    noise_models: Mapping[str, PathLike] | None = None,
    repeats: Mapping[str, Files] | None = None,
    offsets: Mapping[str, float] | None = None,
    resume: bool = False,
    **options: Any,
) -> Run:
    """Train, calibrate and evaluate; the result is the run folder ``output``.

    Parameters
    ----------
    structures : mapping of name to files
        Images, stacks or folders of each structure, in channel order. May be left out to resume.
    output : path
        The run folder; must not exist, unless ``resume``.
    noise_models : mapping of name to .npz, optional
        Noise models at hand. The others are fitted: where noise is added, to the clean images and
        this noise; else to what a denoiser that is trained on the noisy images makes of them.
    repeats : mapping of name to files, optional
        Shots of static scenes, recorded as the structure was; its noise model is fitted to them.
        See `denoisplit.images.read_scenes`.
    offsets : mapping of name to raw intensity, optional
        Camera offsets, counted once in a sum of structures.
    resume : bool
        Continue an interrupted training; the result is that of the uninterrupted one.
    **options
        ``system``, ``preset``, ``seed``, ``superposition``, ``pairing``, ``synthetic_poisson``,
        ``synthetic_gaussian``, ``max_steps``, ``beta``, or whole groups of settings as mappings:
        ``network``, ``objective``, ``data``, ``training``, ``noise_model_fit``, ``prediction``.

    Returns
    -------
    Run
        The finished run, loaded.

    Raises
    ------
    InputError
        For images, settings or folders that do not fit; nothing is left half-written.
    """
    run = Path(output)
    if not team().leads:
        return _follow(run)
    given = bool(structures or noise_models or repeats or offsets or options)
    config = load_config(run) if resume else None
    if config is not None:
        settings = config.settings
        if given:
            values = settings_values(
                structures or files_of(settings), noise_models, repeats, offsets, options
            )
            settings = settings_from(values)
            check_same_settings(config.settings, settings, run)
    else:
        if run.exists() or run.is_symlink():
            raise InputError(
                run, "an existing file or folder", "a new name",
                "choose another output, or say --resume to continue the training in it",
            )  # fmt: skip
        values = settings_values(structures or {}, noise_models, repeats, offsets, options)
        settings = settings_from(values)
    frames = [read_frames(s.files) for s in settings.structures]
    prints = {
        s.name: fingerprint(f.files) for s, f in zip(settings.structures, frames, strict=True)
    }
    if config is not None:
        check_same_images(config.facts, prints, run)
        if all((run / name).exists() for name in (METRICS, CALIBRATION, REPORT)):
            logger.info("%s: this training is finished already", run)
            return load(run)
    data = prepare([f.images for f in frames], settings)
    if not resume:
        scenes = {s.name: read_scenes(s.repeats) for s in settings.structures if s.repeats}
        config = RunConfig(
            format_version=FORMAT_VERSION, settings=settings,
            facts=_facts(settings, data, frames, prints),
        )  # fmt: skip
        _start(run, config, noise_models_at_hand(settings, data, scenes))
        for name, numbers in config.facts.held_out.items():
            if numbers:
                validation, test = (", ".join(map(str, numbers[p])) for p in ("validation", "test"))
                logger.info("%s: frames set aside: %s validation, %s test", name, validation, test)
    try:
        models = remaining_noise_models(run / NOISE_MODELS, run / CHECKPOINTS, settings, data)
        return _train(run, settings, data, models, resume=resume)
    except OSError as error:
        raise not_written(error.filename or run, error) from error


def _train(
    run: Path,
    settings: Settings,
    data: TrainingData,
    models: list[GaussianMixture],
    *,
    resume: bool,
) -> Run:
    model = initial_network(settings, data)
    if (run / WEIGHTS).exists():
        load_weights(model, run / WEIGHTS)
    else:
        fitted = fit(
            model, models, data, settings,
            checkpoints=run / CHECKPOINTS, history=run / HISTORY, resume=resume,
        )  # fmt: skip
        if fitted.skipped_steps:
            logger.warning("%d steps without a finite gradient were left out", fitted.skipped_steps)
        logger.info("trained %d steps, best value %.4f", fitted.steps, fitted.best)
        save_weights(model, run / WEIGHTS)
        (run / CHECKPOINTS / "best.ckpt").unlink(missing_ok=True)
    ready_to_predict(model)
    calibrate_and_judge(run, settings, data, models, model)
    return load(run)


def _follow(run: Path) -> Run:
    """Train with the first of several processes, which prepares and writes everything."""
    logger.setLevel(logging.ERROR)  # it also speaks for all

    def finished() -> bool:
        return all((run / name).exists() for name in (METRICS, CALIBRATION, REPORT))

    def prepared() -> bool:
        if not (run / CONFIG).is_file():
            return False
        settings = load_config(run).settings
        needed = settings.names if SYSTEMS[settings.system].noise_models else ()
        return all(noise_model_path(run, name).is_file() for name in needed)

    wait_until(prepared)
    settings = load_config(run).settings
    if not (run / WEIGHTS).exists():
        data = prepare([read_frames(s.files).images for s in settings.structures], settings)
        names = settings.names if SYSTEMS[settings.system].noise_models else ()
        models = [GaussianMixture.load(noise_model_path(run, name)) for name in names]
        fit(
            initial_network(settings, data), models, data, settings,
            checkpoints=run / CHECKPOINTS, history=run / HISTORY, resume=True,
        )  # fmt: skip
    wait_until(finished)
    return load(run)


def initial_network(settings: Settings, data: TrainingData) -> VSE:
    """The seeded initial network with the statistics of the data in its buffers."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = build_network(settings)
    found = data.statistics
    mean, std = data.superposition.input_statistics(found.pooled_mean, found.pooled_std)
    model.input_mean.fill_(mean)
    model.input_std.fill_(std)
    model.target_mean.copy_(torch.tensor(found.means))
    model.target_std.copy_(torch.tensor(found.stds))
    return model


def calibrate_and_judge(
    run: Path,
    settings: Settings,
    data: TrainingData,
    models: list[GaussianMixture],
    model: VSE,
) -> None:
    """Scalars on validation frames, metrics on test frames; written into the run."""
    prediction = settings.prediction
    sampling = Sampling(
        prediction.calibration_samples, settings.seed, prediction.antithetic,
        keep=min(3, prediction.calibration_samples),  # the first of two antithetic pairs
    )  # fmt: skip
    validation, test = (
        Scenes(getattr(data.clean, part), data.noise, data.superposition,
               seed=settings.seed, part=part)
        for part in ("validation", "test")
    )  # fmt: skip
    errors = halo_errors(model, validation.inputs, seed=settings.seed)
    tiling = {"tile": prediction.tile, "halo": chosen(prediction.halo, errors, SAME)}
    predicted = predict_scenes(model, validation, sampling, label="calibrating", **tiling)
    calibration = calibrate_on(
        validation, predicted, settings.names, models, sampling.samples,
        prediction.calibration_form,
    )  # fmt: skip
    calibration["halo_errors"] = errors
    predicted = predict_scenes(model, test, sampling, label="evaluating", **tiling)
    metrics = judge(test, predicted, settings.names, calibration["scalars"], sampling)
    metrics["superposition"] = settings.data.superposition
    metrics["reference"] = "noise-free" if test.has_truth else "the recorded, noisy images"
    write_json(run / METRICS, metrics)
    write_calibration(run, calibration)
    write_report(
        run / REPORT, load_config(run), test, predicted, calibration, metrics,
        [fit_kept(run / NOISE_MODELS, name) for name in settings.names] if models else [],
        history=run / HISTORY,
    )  # fmt: skip


def _facts(
    settings: Settings, data: TrainingData, frames: Sequence[Frames], prints: dict[str, Any]
) -> Facts:
    # training frames of unrelated cells do not belong together: they have no common size
    unrelated = settings.data.pairing == "unrelated"
    inputs = data.inputs(data.validation if unrelated else data.training)
    means = [float(x.mean()) for x in inputs]
    noise = float(np.median([noise_std(x) for x in inputs]))
    held = frames_held_out(
        [len(f.images) for f in frames], pairing=settings.data.pairing, rule=data.split_rule
    )
    return Facts(
        gaussian_sigma=data.noise.gaussian_sigma,
        pooled_std=data.pooled_std,
        clip=data.noise.clip,
        input_frame_mean=(float(np.mean(means)), float(np.std(means))),
        input_noise_std=noise,
        content_quantum=content_quantum(noise),
        frames={
            part: len(getattr(data.clean, part)[0]) for part in ("training", "validation", "test")
        },
        held_out=dict(zip(settings.names, held, strict=True)),
        pixel_size_um=frames[0].pixel_size_um,
        fingerprints=prints,
        libraries={"denoisplit": denoisplit.__version__}
        | {name: version(name) for name in LIBRARIES},
    )


def _start(run: Path, config: RunConfig, fits: Mapping[str, Fitted]) -> None:
    """Create the run folder in one step, with its configuration and the noise models at hand."""
    with new_folder(run) as draft:
        (draft / NOISE_MODELS).mkdir()
        (draft / CHECKPOINTS).mkdir()
        for name, fitted in fits.items():
            keep(draft / NOISE_MODELS, name, fitted)
        save_config(draft, config)
