"""``denoisplit train``: images of the structures -> a run folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from denoisplit.config.settings import FORMAT_VERSION, Facts, RunConfig, Settings, settings_from
from denoisplit.config.training_options import files_of, settings_values
from denoisplit.data.prepare import TrainingData, prepare
from denoisplit.data.splits import frames_held_out
from denoisplit.data.statistics import content_quantum, noise_std
from denoisplit.errors import InputError
from denoisplit.files.atomic import drop_drafts, not_written
from denoisplit.images import Files, Frames, fingerprint, read_frames, read_repeats
from denoisplit.machine.distributed import team, wait_for
from denoisplit.noise_models.build import fit_available_noise_models, fit_remaining_noise_models
from denoisplit.progress import logger
from denoisplit.run import (
    CHECKPOINTS,
    CONFIG,
    NOISE_MODELS,
    Run,
    load,
    load_config,
)
from denoisplit.training.chain import (
    check_not_in_chain,
    join_chain_training,
    create_chain,
    train_chain,
)
from denoisplit.training.one_network import (
    join_training,
    is_finished,
    final_files,
    create_run,
    train_network,
)
from denoisplit.training.resume import check_same_images, check_same_settings
from denoisplit.version import __version__

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
        See `denoisplit.images.read_repeats`.
    offsets : mapping of name to raw intensity, optional
        Camera offsets, counted once in a sum of structures.
    resume : bool
        Continue an interrupted training; the result is that of the uninterrupted one.
    **options
        ``system``, ``preset``, ``seed``, ``superposition``, ``pairing``, ``synthetic_poisson``,
        ``synthetic_gaussian``, ``max_steps``, ``beta``, or whole groups of settings as mappings:
        ``network``, ``objective``, ``data``, ``training``, ``noise_model_fit``, ``prediction``,
        ``denoiser`` (of system "hdn_musplit").

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
                where=run,
                found="an existing file or folder",
                expected="a new name",
                remedy="choose another output, or say --resume to continue the training in it",
            )
        values = settings_values(structures or {}, noise_models, repeats, offsets, options)
        settings = settings_from(values)
    team().share(settings.training.batch)  # what it refuses is said before hours of work
    if settings.denoiser is not None:
        team().share(settings.denoiser.training.batch)
    frames = [read_frames(s.files) for s in settings.structures]
    prints = {
        s.name: fingerprint(f.files) for s, f in zip(settings.structures, frames, strict=True)
    }
    if config is not None:
        check_same_images(config.facts, prints, run)
        check_not_in_chain(run)
        drop_drafts(run)
        if is_finished(run):
            logger.info("%s: this training is finished already", run)
            return load(run)
    data = prepare([f.images for f in frames], settings)
    if not resume:
        stacks = {s.name: read_repeats(s.repeats) for s in settings.structures if s.repeats}
        config = RunConfig(
            format_version=FORMAT_VERSION,
            settings=settings,
            facts=_facts(settings, data, frames, prints),
        )
        if settings.denoiser is None:
            create_run(run, config, fit_available_noise_models(settings, data, stacks))
        else:
            create_chain(run, config, data, stacks)
        for name, numbers in config.facts.held_out.items():
            if numbers:
                validation, test = (", ".join(map(str, numbers[p])) for p in ("validation", "test"))
                logger.info("%s: frames set aside: %s validation, %s test", name, validation, test)
    try:
        if settings.denoiser is not None:
            return train_chain(run, settings, data)
        models = fit_remaining_noise_models(run / NOISE_MODELS, run / CHECKPOINTS, settings, data)
        return train_network(run, settings, data, models, resume=resume)
    except OSError as error:
        raise not_written(error.filename or run, error) from error


def _follow(run: Path) -> Run:
    """Train with the first of several processes, which prepares and writes everything."""
    logger.setLevel(logging.ERROR)  # it also speaks for all
    wait_for([run / CONFIG])
    settings = load_config(run).settings
    data = prepare([read_frames(s.files).images for s in settings.structures], settings)
    if settings.denoiser is None:
        join_training(run, settings, data)
    else:
        join_chain_training(run, settings, data)
    wait_for(final_files(run))
    return load(run)


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
        libraries={"denoisplit": __version__} | {name: version(name) for name in LIBRARIES},
    )
