"""HDN(+)muSplit: a denoiser of each structure and of the mixed input, then a splitter.

Each denoiser is a run of its own in ``denoisers/NAME`` and can be used as one. All training and
validation frames are denoised, the mixed ones as whole images, and the splitter is trained on what
came out. Everything is written as soon as it is there, so that the chain goes on at any stage.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from denoisplit.config.settings import (
    FORMAT_VERSION,
    MIXED,
    Facts,
    RunConfig,
    Settings,
)
from denoisplit.data.chain_parts import Part, parts_of
from denoisplit.data.prepare import Mixed, TrainingData
from denoisplit.data.splits import Image, Splits
from denoisplit.data.statistics import content_quantum, noise_std, statistics
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes
from denoisplit.machine.distributed import wait_for
from denoisplit.network import DenoisedVSE
from denoisplit.network.inference import inference_form
from denoisplit.noise_models.build import (
    fit_structure,
    noise_models_at_hand,
    remaining_noise_models,
)
from denoisplit.noise_models.pairs import from_known
from denoisplit.noise_models.storage import Fitted, fit_kept
from denoisplit.prediction.frame import Sampling, predict_frame
from denoisplit.progress import Stages, bar, stages
from denoisplit.run import (
    CHECKPOINTS,
    CONFIG,
    DENOISERS,
    NOISE_MODELS,
    WEIGHTS,
    Run,
    load,
    put_behind_denoiser,
    ready_to_predict,
)
from denoisplit.training.one_network import (
    calibrate_and_judge,
    fit_network,
    follow_network,
    is_finished,
    start,
    train_network,
)

Array = npt.NDArray[np.float32]

DENOISED = "denoised"  # folder of the frames that the splitter is trained on
PARTS = ("training", "validation")
# what the stages take of the overall progress, in hundredths of a denoiser's training
NOISE_MODEL, DENOISER, FRAMES, SPLITTER, JUDGED = 10, 100, 30, 200, 20


def start_chain(
    run: Path, config: RunConfig, data: TrainingData, scenes: Mapping[str, Sequence[Image]]
) -> None:
    """Create the run folder with those of its denoisers, and the noise models at hand, in one step.

    Raises
    ------
    InputError
        What `noise_models_at_hand` refuses.
    """
    made = {
        part.name: (
            RunConfig(
                format_version=FORMAT_VERSION, settings=part.settings, facts=_facts(config, part)
            ),
            _fits(part, data, scenes),
        )
        for part in parts_of(config.settings, data)
    }
    start(run, config, {}, inside={f"{DENOISERS}/{name}": entry for name, entry in made.items()})


def train_chain(run: Path, settings: Settings, data: TrainingData) -> Run:
    """Train what is not there yet, calibrate and evaluate the whole; the run is begun already."""
    parts = parts_of(settings, data)
    each = NOISE_MODEL + DENOISER + FRAMES
    with stages("HDN(+)muSplit", len(parts) * each + SPLITTER + JUDGED) as whole:
        frames = {part.name: _denoise(run, part, whole) for part in parts}
        whole.stage("splitter", SPLITTER, counts="training")
        model = fit_network(run, settings, splitting_data(data, frames), [], resume=True)
        whole.stage("evaluation", JUDGED, counts="evaluating")
        if not isinstance(model, DenoisedVSE):
            raise TypeError(f"a splitter that is a {type(model).__name__}")
        put_behind_denoiser(model, run, settings)
        ready_to_predict(model)
        fits = [fit_kept(run / DENOISERS / n / NOISE_MODELS, n) for n in settings.names]
        calibrate_and_judge(run, settings, data, fits, model)
    return load(run)


def follow_chain(run: Path, settings: Settings, data: TrainingData) -> None:
    """The share of another than the first process in every training of the chain."""
    if (run / WEIGHTS).exists():
        return
    frames = {}
    for part in parts_of(settings, data):
        follow_network(run / DENOISERS / part.name, part.settings, part.data)
        # no training is begun before the first process is there too: it would wait in vain
        noisy = _noisy(run, part)
        wait_for([path for entries in noisy.values() for path, _ in entries])
        frames[part.name] = {
            label: tuple(_read(path, frame.shape) for path, frame in entries)
            for label, entries in noisy.items()
        }
    follow_network(run, settings, splitting_data(data, frames))


def check_is_whole(run: Path) -> None:
    """Refuse to resume the denoiser of a chain, which is trained on the frames of the chain.

    Raises
    ------
    InputError
        If it is one that is not finished.
    """
    folder = run.resolve().parent
    chain = folder.parent
    inside = folder.name == DENOISERS and (chain / CONFIG).is_file()
    if inside and not is_finished(run):
        raise InputError(
            where=run,
            found="a part of HDN(+)muSplit",
            expected="the whole run",
            remedy=f"finish it with `denoisplit train --resume -o {chain}`",
        )


# ---------------------------------------------------------------- what the denoisers are trained on


def _fits(
    part: Part, data: TrainingData, scenes: Mapping[str, Sequence[Image]]
) -> dict[str, Fitted]:
    """The noise models that need no denoiser."""
    if part.name != MIXED or not data.noise or part.settings.noise_model_fit.route == "C":
        return noise_models_at_hand(part.settings, part.data, scenes)
    pairs = from_known(
        signal=part.data.clean.training[0], observed=part.data.training[0], seed=part.settings.seed
    )
    fit = part.settings.noise_model_fit
    return {MIXED: fit_structure(MIXED, pairs, fit, part.settings.seed)}


def _facts(config: RunConfig, part: Part) -> Facts:
    facts, data = config.facts, part.data
    means = [float(frame.mean()) for frame in data.training[0]]
    noise = float(np.median([noise_std(frame) for frame in data.training[0]]))
    prints = facts.fingerprints.get(part.name)
    if prints is None:
        prints = [entry for entries in facts.fingerprints.values() for entry in entries]
    held = facts.held_out.get(part.name) or next(iter(facts.held_out.values()), {})
    return facts.model_copy(
        update={
            "gaussian_sigma": data.noise.gaussian_sigma,
            "clip": data.noise.clip,
            "input_frame_mean": (float(np.mean(means)), float(np.std(means))),
            "input_noise_std": noise,
            "content_quantum": content_quantum(noise),
            "held_out": {part.name: held},
            "fingerprints": {part.name: prints},
        }
    )


# ---------------------------------------------------------------- denoised frames


def _denoise(run: Path, part: Part, whole: Stages) -> dict[str, tuple[Array, ...]]:
    """Train a denoiser unless it is there, and denoise the frames of the splitter's training."""
    own, name = run / DENOISERS / part.name, part.name
    whole.stage(f"{name}: noise model", NOISE_MODEL, counts=f"denoiser of {name}")
    models = remaining_noise_models(own / NOISE_MODELS, own / CHECKPOINTS, part.settings, part.data)
    whole.stage(f"{name}: denoiser", DENOISER, counts="training")
    denoiser = (
        load(own)
        if is_finished(own)
        else train_network(own, part.settings, part.data, models, resume=True)
    )
    whole.stage(f"{name}: frames", FRAMES, counts=f"denoising {name}")
    settings = part.settings
    sampling = Sampling(
        settings.prediction.calibration_samples, settings.seed, settings.prediction.antithetic
    )
    model = inference_form(denoiser.model)
    noisy = _noisy(run, part)
    done: dict[str, list[Array]] = {label: [] for label in noisy}
    count = 0
    (run / CHECKPOINTS / DENOISED / name).mkdir(parents=True, exist_ok=True)
    with bar(f"denoising {name}", sum(map(len, noisy.values()))) as progress:
        for label, entries in noisy.items():
            for path, frame in entries:
                if not path.is_file():
                    _write(
                        path,
                        predict_frame(
                            model, frame, sampling, tile=denoiser.tile, halo=denoiser.halo
                        ).mean[0],
                    )
                done[label].append(_read(path, frame.shape))
                count += 1
                progress.to(count)
    return {label: tuple(frames) for label, frames in done.items()}


def _noisy(run: Path, part: Part) -> dict[str, list[tuple[Path, Array]]]:
    """Frames of each part of the data, and where they are kept when they are denoised."""
    folder = run / CHECKPOINTS / DENOISED / part.name
    return {
        label: [
            (folder / f"{label}_{number}.npy", frame)
            for number, frame in enumerate(getattr(part.data, label)[0])
        ]
        for label in PARTS
    }


def _write(path: Path, frame: Array) -> None:
    """float32 as it is: whole grey levels, or an offset, would be a second noise."""
    content = io.BytesIO()
    np.save(content, frame, allow_pickle=False)
    write_bytes(path, content.getvalue())


def _read(path: Path, shape: tuple[int, ...]) -> Array:
    try:
        frame: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            where=path,
            found="no readable frame",
            expected="a denoised frame",
            remedy="remove it, and resume",
        ) from error
    if frame.shape != shape or frame.dtype != np.float32:
        raise InputError(
            where=path,
            found=f"{frame.dtype} of {frame.shape}",
            expected=f"float32 of {shape}",
            remedy="remove it, and resume",
        )
    return frame


def splitting_data(
    data: TrainingData, frames: Mapping[str, Mapping[str, tuple[Array, ...]]]
) -> TrainingData:
    """What the splitter is trained on: denoised structures, and the denoised mixed frames as input.

    Parameters
    ----------
    data : TrainingData
        Of the whole.
    frames : mapping of name to part to frames (Y, X)
        Denoised, raw intensity; the last name is `MIXED`.
    """
    mix = data.superposition
    *names, last = frames
    training, validation = (tuple(frames[name][part] for name in names) for part in PARTS)
    mixed = Mixed(frames[last]["training"], frames[last]["validation"])
    # all stacks on one scale, that of the structures: a sum counts as a mean
    scale = mix.scale * len(mix.offsets)
    pooled = (*training, tuple((frame - mix.shift) / scale for frame in mixed.training))
    none = SyntheticNoise()
    found = statistics(pooled, pooled, none, data.seed)
    return replace(
        data,
        clean=Splits(training, validation, validation),
        training=training,
        validation=validation,
        test=validation,
        noise=none,
        mixed=mixed,
        statistics=replace(found, means=found.means[:-1], stds=found.stds[:-1]),
    )
