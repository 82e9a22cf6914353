"""``denoisplit train``: train a run from images of the structures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoisplit.commands.arrays import takes_arrays
from denoisplit.config.everyday import TRAIN
from denoisplit.config.groups import Pairing, Preset, SuperpositionKind, System
from denoisplit.config.options import documented
from denoisplit.config.settings import settings_from
from denoisplit.config.training_options import files_of, settings_values
from denoisplit.data.pairing import check_together, warn_of_numbers
from denoisplit.data.prepare import prepare
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import check_truth, with_truth
from denoisplit.files.atomic import complete_replacement, drop_drafts
from denoisplit.files.folder_lock import output_lock
from denoisplit.files.outputs import check_folder, check_new
from denoisplit.images import Files, fingerprint, read_frames
from denoisplit.machine.distributed import READY, reason_to_be_alone, team
from denoisplit.progress import logger
from denoisplit.run import CALIBRATED, Run, load, load_config
from denoisplit.training.chain import check_not_in_chain
from denoisplit.training.one_network import check_can_finish, is_finished
from denoisplit.training.precision import check_devices
from denoisplit.training.resume import check_same_images, check_same_settings
from denoisplit.training.start import join_run, start_run, train_run

PathLike = str | Path


@takes_arrays("structures", "repeats", "truth", kept=True)
@documented(TRAIN)
def train(
    structures: Mapping[str, Files] | None = None,
    output: PathLike = "run",
    *,
    system: System | None = None,
    preset: Preset | None = None,
    pairing: Pairing | None = None,
    superposition: SuperpositionKind | None = None,
    noise_models: Mapping[str, PathLike] | None = None,
    repeats: Mapping[str, Files] | None = None,
    truth: Mapping[str, Files] | None = None,
    offsets: Mapping[str, float] | None = None,
    synthetic_poisson: float | None = None,
    synthetic_gaussian: float | None = None,
    beta: float | None = None,
    max_steps: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    finish: bool = False,
    progress: bool = True,
    network: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    noise_model_fit: Mapping[str, Any] | None = None,
    n2v: Mapping[str, Any] | None = None,
    prediction: Mapping[str, Any] | None = None,
    denoiser: Mapping[str, Any] | None = None,
) -> Run:
    """Train, calibrate and evaluate a network; everything is written to the folder ``output``.

    Noise models that are not given are fitted: to ``repeats``; where noise is added, to the clean
    images and this noise; else to the noisy images and the output of a denoiser that is trained on
    them. Frames of ``repeats`` are grouped by `denoisplit.images.read_repeats`. Calibration and
    report compare with the images before noise was added, or with ``truth``; without both, they
    estimate the errors (`denoisplit.evaluation.risk`). Settings that are not given have the value
    of the system and the preset.

    Parameters
    ----------
    {options}

    Returns
    -------
    Run
        The finished run.

    Raises
    ------
    InputError
        If images or settings cannot be used, the run folder exists or, to resume, does not, another
        process writes to it, or, to finish, no epoch is complete.
    """
    options: dict[str, Any] = {
        "system": system,
        "preset": preset,
        "pairing": pairing,
        "superposition": superposition,
        "synthetic_poisson": synthetic_poisson,
        "synthetic_gaussian": synthetic_gaussian,
        "beta": beta,
        "max_steps": max_steps,
        "seed": seed,
        "network": network,
        "objective": objective,
        "data": data,
        "training": training,
        "noise_model_fit": noise_model_fit,
        "n2v": n2v,
        "prediction": prediction,
        "denoiser": denoiser,
    }
    run = Path(output)
    if finish and not resume:
        raise InputError(
            "`finish` ends a training that was started before",
            where="finish",
            remedy="add `resume`, or leave it out",
        )
    check_devices(team())
    if not team().leads:
        return join_run(run, resume=resume, finish=finish)
    check_folder(run)
    with output_lock(run) as held:
        held.say(team().name)
        if reason := reason_to_be_alone():
            logger.warning("training in one process: %s", reason)
        if not resume:
            check_new(run, "choose another output, or continue the training in it with `resume`")
        stored = load_config(run) if resume else None
        drop_drafts(run)
        if stored is not None and not (
            structures
            or noise_models
            or repeats
            or offsets
            or truth
            or any(value is not None for value in options.values())
        ):
            settings = stored.settings
        else:
            files = structures or (files_of(stored.settings) if stored else {})
            values = settings_values(files, noise_models, repeats, offsets, options, truth=truth)
            settings = settings_from(values)
            if truth:
                check_truth(settings, truth)
            if stored is not None:
                check_same_settings(stored.settings, settings, run)
        team().share(settings.training.batch)  # refused here, before hours of work
        if settings.denoiser is not None:
            team().share(settings.denoiser.training.batch)
        names = settings.names
        frames = [read_frames(s.files) for s in settings.structures]
        fingerprints = {n: fingerprint(f.files) for n, f in zip(names, frames, strict=True)}
        exposures = {s.name: read_frames(s.truth) for s in settings.structures if s.truth}
        for group, name in zip(frames, names, strict=True):
            if name in exposures:
                warn_of_numbers(group, exposures[name])
        of_truth = {n: fingerprint(f.files) for n, f in exposures.items()}
        if stored is not None:
            check_same_images(stored.facts.fingerprints, fingerprints, run)
            check_same_images(stored.facts.truth, of_truth, run, "truth")
            check_not_in_chain(run)
            complete_replacement(run / CALIBRATED)
            if is_finished(run):
                logger.info("%s: this training is already complete", run)
                return load(run)
            if finish:
                check_can_finish(run)
        images = [f.images for f in frames]
        prepared = prepare(images, settings)
        is_paired = settings.data.pairing != "unrelated"
        check_together(frames, names, paired=is_paired, distinct=True)
        if exposures:
            truths = [f.images for f in exposures.values()]
            prepared = with_truth(prepared, images, truths, settings)
        if not resume:
            start_run(run, settings, prepared, frames, fingerprints, of_truth)
        held.say(READY)
        return train_run(run, settings, prepared, finish=finish)
