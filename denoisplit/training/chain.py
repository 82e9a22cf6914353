"""Train HDN(+)muSplit: a denoiser of each structure and of the mixed input, then a splitter.

Each denoiser is a complete run in ``denoisers/NAME``. All training and validation frames are
denoised, the mixed ones as whole images, and the splitter is trained on the denoised frames. Every
result is saved as soon as it is complete, so an interrupted chain resumes at any stage.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from denoisplit.config.settings import FORMAT_VERSION, MIXED, Facts, RunConfig, Settings
from denoisplit.data.chain_parts import Part, parts_of
from denoisplit.data.prepare import Mixed, TrainingData
from denoisplit.data.splits import Image, Splits
from denoisplit.data.statistics import statistics
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes
from denoisplit.files.npz import parse_npy
from denoisplit.machine.distributed import Leader
from denoisplit.network.inference import inference_form
from denoisplit.noise_models.build import (
    fit_available_noise_models,
    fit_remaining_noise_models,
    fit_structure,
)
from denoisplit.noise_models.pairs import from_known
from denoisplit.noise_models.storage import FittedNoiseModel
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.progress import Stages, bar, stages
from denoisplit.run import (
    CHECKPOINTS,
    CONFIG,
    DENOISERS,
    NOISE_MODELS,
    WEIGHTS,
    Run,
    load,
    load_denoiser,
    prepare_for_prediction,
)
from denoisplit.training.calibration.calibrate import calibrate_and_evaluate
from denoisplit.training.calibration.work import BAR
from denoisplit.training.facts import input_facts
from denoisplit.training.one_network import (
    create_run,
    fit_or_load_network,
    is_finished,
    join_training,
    train_network,
)

Array = npt.NDArray[np.float32]

DENOISED = "denoised"  # folder of the frames that the splitter is trained on
TRAINING_SPLITS = ("training", "validation")
# share of each stage in the overall progress, in hundredths of the training of a denoiser
NOISE_MODEL, DENOISER, FRAMES, SPLITTER, EVALUATION = 10, 100, 30, 200, 20


def create_chain(
    run: Path, config: RunConfig, data: TrainingData, repeats: Mapping[str, Sequence[Image]]
) -> None:
    """Create the run folder of a chain, its denoisers and the available noise models in one step.

    Parameters
    ----------
    repeats : mapping of name to stacks (T, Y, X)
        Repeated shots of static scenes, to which noise models are fitted.

    Raises
    ------
    InputError
        If a noise model cannot be read or fitted.
    """
    denoisers = {
        part.name: (
            RunConfig(
                format_version=FORMAT_VERSION,
                created=config.created,
                settings=part.settings,
                facts=_facts_of_part(config, part),
            ),
            _fit_noise_models_of_part(part, data, repeats),
        )
        for part in parts_of(config.settings, data)
    }
    create_run(run, config, {}, denoisers=denoisers)


def train_chain(run: Path, settings: Settings, data: TrainingData, *, finish: bool = False) -> Run:
    """Train the missing networks of a chain, then calibrate and evaluate the whole.

    The run folder must exist, see `create_chain`; finished stages are not repeated. With
    ``finish``, each network is taken as of its best epoch so far.
    """
    parts = parts_of(settings, data)
    per_denoiser = NOISE_MODEL + DENOISER + FRAMES
    with stages("HDN(+)muSplit", len(parts) * per_denoiser + SPLITTER + EVALUATION) as progress:
        frames = {part.name: _train_and_apply_denoiser(run, part, progress) for part in parts}
        progress.stage("splitter", SPLITTER, counts="training")
        of_splitter = splitter_data(data, frames)
        model = fit_or_load_network(run, settings, of_splitter, [], finish=finish)
        progress.stage("evaluation", EVALUATION, counts=BAR)
        load_denoiser(model, run, settings)
        prepare_for_prediction(model)
        calibrate_and_evaluate(run, settings, data, model)
    return load(run)


def join_chain_training(run: Path, settings: Settings, data: TrainingData, leader: Leader) -> None:
    """Take part in every training of a chain, as a rank other than 0.

    Rank 0 prepares, denoises and writes everything; this rank reads the denoised frames.
    """
    if (run / WEIGHTS).exists():
        return
    frames = {}
    for part in parts_of(settings, data):
        join_training(run / DENOISERS / part.name, part.settings, part.data, leader)
        noisy = _noisy_frames(run, part)
        # the next training must not start before rank 0 has reached it: its set-up would time out
        leader.wait_for([path for entries in noisy.values() for path, _ in entries])
        frames[part.name] = {
            split: tuple(_read_frame(path, frame.shape) for path, frame in entries)
            for split, entries in noisy.items()
        }
    join_training(run, settings, splitter_data(data, frames), leader)


def check_not_in_chain(run: Path) -> None:
    """Refuse to resume an unfinished denoiser alone: only its chain prepares its frames.

    Raises
    ------
    InputError
        If ``run`` is an unfinished denoiser inside HDN(+)muSplit.
    """
    folder = run.resolve().parent
    chain = folder.parent
    inside = folder.name == DENOISERS and (chain / CONFIG).is_file()
    if inside and not is_finished(run):
        raise InputError(
            "this denoiser is part of HDN(+)muSplit and cannot be trained alone",
            where=run,
            remedy=f"resume the whole run with `denoisplit train --resume -o {chain}`",
        )


def splitter_data(
    data: TrainingData, frames: Mapping[str, Mapping[str, tuple[Array, ...]]]
) -> TrainingData:
    """Return the training data of the splitter: denoised structures, and denoised mixed inputs.

    Parameters
    ----------
    data : TrainingData
        Of the whole chain.
    frames : mapping of name to split to frames (Y, X)
        Denoised, raw intensity; the last name is `MIXED`.
    """
    mix = data.superposition
    *names, last = frames
    training, validation = (
        tuple(frames[name][split] for name in names) for split in TRAINING_SPLITS
    )
    mixed = Mixed(frames[last]["training"], frames[last]["validation"])
    # all stacks on the scale of the structures: a sum counts as a mean
    scale = mix.scale * len(mix.offsets)
    pooled = (*training, tuple((frame - mix.shift) / scale for frame in mixed.training))
    noise = SyntheticNoise()  # none is left after denoising
    measured = statistics(pooled, pooled, noise, data.seed)
    return replace(
        data,
        clean=Splits(training, validation, validation),
        training=training,
        validation=validation,
        test=validation,
        noise=noise,
        mixed=mixed,
        statistics=replace(measured, means=measured.means[:-1], stds=measured.stds[:-1]),
    )


# ---------------------------------------------------------------- preparing the denoisers


def _fit_noise_models_of_part(
    part: Part, data: TrainingData, repeats: Mapping[str, Sequence[Image]]
) -> dict[str, FittedNoiseModel]:
    """Fit the noise models of a denoiser that need no denoised images."""
    fit = part.settings.noise_model_fit
    if part.name != MIXED or not data.noise or fit.route == "C":
        return fit_available_noise_models(part.settings, part.data, repeats)
    pairs = from_known(
        signal=part.data.clean.training[0], observed=part.data.training[0], seed=part.settings.seed
    )
    return {MIXED: fit_structure(MIXED, pairs, fit, part.settings.seed)}


def _facts_of_part(config: RunConfig, part: Part) -> Facts:
    """Return the facts of one denoiser; the mixed one has the files of all structures."""
    facts, data = config.facts, part.data
    fingerprints = facts.fingerprints.get(part.name)
    if fingerprints is None:
        fingerprints = [entry for entries in facts.fingerprints.values() for entry in entries]
    held_out = facts.held_out.get(part.name) or next(iter(facts.held_out.values()), {})
    return facts.model_copy(
        update={
            "gaussian_sigma": data.noise.gaussian_sigma,
            "clip": data.noise.clip,
            **input_facts(data.training[0]),
            "held_out": {part.name: held_out},
            "fingerprints": {part.name: fingerprints},
            "truth": {part.name: facts.truth[part.name]} if part.name in facts.truth else {},
        }
    )


# ---------------------------------------------------------------- denoised frames


def _train_and_apply_denoiser(
    run: Path, part: Part, progress: Stages
) -> dict[str, tuple[Array, ...]]:
    """Train a denoiser unless it is finished, and denoise the frames of each training split."""
    folder, name, settings = run / DENOISERS / part.name, part.name, part.settings
    progress.stage(f"{name}: noise model", NOISE_MODEL, counts=f"denoiser of {name}")
    models = fit_remaining_noise_models(
        folder / NOISE_MODELS, folder / CHECKPOINTS, settings, part.data
    )
    progress.stage(f"{name}: denoiser", DENOISER, counts="training")
    if is_finished(folder):
        denoiser = load(folder)
    else:
        denoiser = train_network(folder, settings, part.data, models)
    progress.stage(f"{name}: frames", FRAMES, counts=f"denoising {name}")
    prediction = settings.prediction
    sampling = Sampling(prediction.calibration_samples, settings.seed, prediction.antithetic)
    model, tile, halo = inference_form(denoiser.model), denoiser.tile, denoiser.halo
    noisy = _noisy_frames(run, part)
    denoised: dict[str, list[Array]] = {split: [] for split in noisy}
    (run / CHECKPOINTS / DENOISED / name).mkdir(parents=True, exist_ok=True)
    with bar(f"denoising {name}", sum(map(len, noisy.values()))) as frames_done:
        for split, entries in noisy.items():
            for path, frame in entries:
                if not path.is_file():
                    prediction_ = predict_frame(model, frame, sampling, tile=tile, halo=halo)
                    _write_frame(path, prediction_.mean[0])
                denoised[split].append(_read_frame(path, frame.shape))
                frames_done.to(sum(map(len, denoised.values())))
    return {split: tuple(frames) for split, frames in denoised.items()}


def _noisy_frames(run: Path, part: Part) -> dict[str, list[tuple[Path, Array]]]:
    """Return the noisy frames of each training split, each after the path of its denoised form."""
    folder = run / CHECKPOINTS / DENOISED / part.name
    return {
        split: [
            (folder / f"{split}_{number}.npy", frame)
            for number, frame in enumerate(getattr(part.data, split)[0])
        ]
        for split in TRAINING_SPLITS
    }


def _write_frame(path: Path, frame: Array) -> None:
    """Write float32 values unchanged: rounding to grey levels would add noise."""
    content = io.BytesIO()
    np.save(content, frame, allow_pickle=False)
    write_bytes(path, content.getvalue())


def _read_frame(path: Path, shape: tuple[int, ...]) -> Array:
    remedy = "remove the file and resume the training with `resume`"
    try:
        frame: Array = parse_npy(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError("this denoised frame cannot be read", where=path, remedy=remedy) from error
    if frame.shape != shape or frame.dtype != np.float32:
        raise InputError(
            where=path,
            found=f"{frame.dtype} values of shape {frame.shape}",
            expected=f"float32 values of shape {shape}",
            remedy=remedy,
        )
    return frame
