"""Start or resume the training of a run of any system, alone or as one of several ranks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from denoisplit.config.settings import FORMAT_VERSION, RunConfig, Settings
from denoisplit.config.systems import SYSTEMS
from denoisplit.data.prepare import TrainingData, prepare
from denoisplit.files.atomic import not_written
from denoisplit.images import Frames, read_frames, read_repeats
from denoisplit.machine.distributed import Leader, team
from denoisplit.noise_models.build import fit_available_noise_models, fit_remaining_noise_models
from denoisplit.progress import logger
from denoisplit.run import CHECKPOINTS, NOISE_MODELS, Run, load, load_config
from denoisplit.training.chain import create_chain, join_chain_training, train_chain
from denoisplit.training.facts import measure_facts
from denoisplit.training.one_network import (
    create_run,
    final_files,
    is_finished,
    join_training,
    train_network,
)


def start_run(
    run: Path,
    settings: Settings,
    data: TrainingData,
    frames: Sequence[Frames],
    fingerprints: Mapping[str, list[dict[str, Any]]],
    truth: Mapping[str, list[dict[str, Any]]],
) -> None:
    """Create a run folder with its configuration and the available noise models.

    Parameters
    ----------
    data, frames, fingerprints, truth
        As of `denoisplit.training.facts.measure_facts`.

    Raises
    ------
    InputError
        If a noise model cannot be read or fitted.
    """
    repeats = {s.name: read_repeats(s.repeats) for s in settings.structures if s.repeats}
    facts = measure_facts(settings, data, frames, fingerprints, truth)
    now = datetime.now(UTC).replace(microsecond=0)
    config = RunConfig(format_version=FORMAT_VERSION, created=now, settings=settings, facts=facts)
    if settings.denoiser is None:
        create_run(run, config, fit_available_noise_models(settings, data, repeats))
    else:
        create_chain(run, config, data, repeats)
    for name, numbers in facts.held_out.items():
        if numbers:
            held = {part: ", ".join(map(str, numbers[part])) for part in ("validation", "test")}
            text = "%s: held out are frames %s for validation, and %s for the test"
            logger.info(text, name, held["validation"], held["test"])


def train_run(run: Path, settings: Settings, data: TrainingData, *, finish: bool = False) -> Run:
    """Train, calibrate and evaluate a run whose folder exists; finished steps are not repeated.

    With ``finish``, a network that is not trained to the end is taken as of its best epoch.
    """
    try:
        if settings.denoiser is not None:
            return train_chain(run, settings, data, finish=finish)
        models = []
        if SYSTEMS[settings.system].noise_models:
            models = fit_remaining_noise_models(
                run / NOISE_MODELS, run / CHECKPOINTS, settings, data
            )
        return train_network(run, settings, data, models, finish=finish)
    except OSError as error:
        raise not_written(error.filename or run, error) from error


def join_run(run: Path, *, resume: bool = False, finish: bool = False) -> Run:
    """Take part in the training of a run, as a rank other than 0, and load it when it is complete.

    Rank 0 prepares and writes everything, and is the only one that logs. To ``finish``, it works
    alone.
    """
    level, leader = logger.level, Leader(run, team().name)
    logger.setLevel(logging.ERROR)
    try:
        if resume and is_finished(run):
            return load(run)
        leader.wait_until_ready()
        settings = load_config(run).settings
        if not finish:
            data = prepare([read_frames(s.files).images for s in settings.structures], settings)
            join = join_training if settings.denoiser is None else join_chain_training
            join(run, settings, data, leader)
        leader.wait_for(final_files(run))
        return load(run)
    except RuntimeError as error:  # of torch.distributed, when a process has ended
        if leader.holds():
            raise
        raise leader.ended() from error
    finally:
        logger.setLevel(level)
