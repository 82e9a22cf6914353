"""Run folder: a trained model on disk. Reading it executes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from safetensors.torch import save as save_tensors

from denoisplit.config.migration import read_config
from denoisplit.config.settings import MIXED, RunConfig, Settings
from denoisplit.config.systems import SYSTEMS
from denoisplit.config.validation import parse
from denoisplit.data.prepare import superposition_of
from denoisplit.data.superposition import Superposition
from denoisplit.errors import InputError
from denoisplit.files.atomic import complete_replacement, write_bytes, write_text
from denoisplit.files.json_file import read_json
from denoisplit.files.tensors import read_safetensors
from denoisplit.machine.device import default_device
from denoisplit.network.context import ContextVSE
from denoisplit.network.denoised import DenoisedVSE
from denoisplit.network.error_map import ErrorMap, error_map_of
from denoisplit.network.inference import local_form
from denoisplit.network.mean_correction import RADIUS, MeanCorrection, mean_correction_of
from denoisplit.network.vse import VSE, Denoiser
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.autotune import Form
from denoisplit.prediction.frame import ErrorMapping
from denoisplit.prediction.halo import EXACT, PREDICTION_TOLERANCE, sufficient_halo
from denoisplit.prediction.intervals import interval_number
from denoisplit.prediction.tiles import tile_side

CONFIG, WEIGHTS, CALIBRATION = "config.yaml", "model.safetensors", "calibration.json"
METRICS, HISTORY, ERROR_MAP = "metrics.json", "history.csv", "error_map.safetensors"
MEANS = "mean_correction."  # prefix of the correction of decoded means in the file of the error map
NOISE_MODELS, CHECKPOINTS, DENOISERS = "noise_models", "checkpoints", "denoisers"
CALIBRATED = ".calibrated"  # folder of a new calibration, until its files are in their places

FLOAT32 = np.finfo(np.float32)
SMALLEST, LARGEST = float(FLOAT32.tiny), float(FLOAT32.max)


def build_network(settings: Settings) -> VSE:
    """Build the untrained network of some settings."""
    network = VSE if settings.network.planes == 1 else ContextVSE
    if SYSTEMS[settings.system].denoised:
        network = DenoisedVSE
    return network(
        len(settings.structures),
        log_variance=SYSTEMS[settings.system].log_variance,
        **settings.network.arguments,
    )


@dataclass(frozen=True)
class Run:
    """Finished run: configuration, network, calibration scalars."""

    path: Path
    config: RunConfig
    model: VSE  # on its device, in evaluation mode
    calibration: dict[str, float]  # structure -> factor of its posterior std
    halo_errors: dict[int, float]  # halo in px -> difference; see `denoisplit.prediction.halo`
    error_map: ErrorMap | None = None  # on the device of the network; None for an older run

    def __repr__(self) -> str:
        system = SYSTEMS[self.config.settings.system].title
        bars = "the spread of samples" if self.error_map is None else "an error map"
        return (
            f"<Run {str(self.path)!r}: {system} of the {self.superposition.kind} of "
            f"{', '.join(self.names)}; error bars from {bars}; on {self.model.input_mean.device}>"
        )

    @property
    def halo(self) -> int:
        """Context margin around each tile, px: as set, or else as measured."""
        halo = self.config.settings.prediction.halo
        return self.measured_halo(PREDICTION_TOLERANCE) if halo is None else halo

    def measured_halo(self, tolerance: float) -> int:
        """Return the smallest halo of a tolerance, px, with the margin that the error map needs."""
        halo = sufficient_halo(self.halo_errors, tolerance)
        return halo if self.error_map is None else halo + error_map_margin(self.model)

    def mapping(self, coverage: float | None = None) -> ErrorMapping | None:
        """Return how error bars are computed, with an interval if a coverage is named.

        Raises
        ------
        InputError
            If the run has no error map, or no interval of this coverage, and one is named.
        """
        if coverage is not None:
            self.needs_error_map(f"intervals of coverage {coverage:g}")
        if self.error_map is None:
            return None
        number = None if coverage is None else interval_number(self.error_map, coverage)
        return ErrorMapping(self.error_map, number)

    def in_form(self, form: Form) -> Run:
        """Return the run with copies of network and error map in a form for prediction."""
        error_map = self.error_map and local_form(self.error_map, form.dtype)
        return replace(self, model=form.apply(self.model), error_map=error_map)

    def needs_error_map(self, purpose: str) -> None:
        """Refuse a purpose for which a run of an older release, without an error map, is no use.

        Raises
        ------
        InputError
        """
        if self.error_map is None:
            raise InputError(
                f"this run has no error map, which {purpose} need",
                where=self.path,
                remedy=f"add one with `denoisplit calibrate {self.path}`",
            )

    @property
    def tile(self) -> int:
        """Side of a tile's core, px: as set, or else as the memory of this machine allows."""
        return self.config.settings.prediction.tile or tile_side(self.model, self.halo)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the structures, in channel order."""
        return self.config.settings.names

    @property
    def factors(self) -> npt.NDArray[np.float32]:
        """Calibration scalars in channel order, (C, 1, 1), for stds (C, Y, X)."""
        scalars = [self.calibration[name] for name in self.names]
        return np.array(scalars, dtype=np.float32)[:, None, None]

    @property
    def superposition(self) -> Superposition:
        """Superposition of the structures to the input."""
        return superposition_of(self.config.settings)

    def noise_models(self) -> list[GaussianMixture]:
        """Read the noise models of the structures, in channel order."""
        return [GaussianMixture.load(noise_model_path(self.path, name)) for name in self.names]


def noise_model_path(run: Path, structure: str) -> Path:
    """Return the file of a structure's noise model in a run folder."""
    return run / NOISE_MODELS / f"{structure}.npz"


def load(path: str | Path, *, device: torch.device | str | None = None) -> Run:
    """Read a run folder.

    Raises
    ------
    InputError
        If the folder is not a run, or the run is not finished, or damaged.
    """
    path = Path(path)
    config = load_config(path)
    complete_replacement(path / CALIBRATED)
    for name, stage in ((WEIGHTS, "trained"), (CALIBRATION, "calibrated")):
        if not (path / name).is_file():
            problem = f"this run is not {stage} yet: {name} is missing"
            remedy = f"finish it with `denoisplit train --resume -o {path}`"
            raise InputError(problem, where=path, remedy=remedy)
    model = read_network(config.settings, path / WEIGHTS)
    stored = read_json(path / CALIBRATION)
    calibration = stored.get("scalars")
    names = config.settings.names
    if not isinstance(calibration, dict) or set(calibration) != set(names):
        problem = f"expected one calibration scalar for each of {', '.join(names)}"
        raise InputError(problem, where=path / CALIBRATION, remedy="copy the run again")
    for name, value in calibration.items():
        if not (isinstance(value, int | float) and SMALLEST <= value <= LARGEST):
            problem = f"the calibration scalar {value!r} of {name} is not a positive number"
            raise InputError(problem, where=path / CALIBRATION, remedy="copy the run again")
    scalars = {name: float(calibration[name]) for name in names}
    errors = _halo_errors(path / CALIBRATION, stored.get("halo_errors"), model)
    if model.needs_denoised_input:
        load_denoiser(model, path, config.settings)
    prepare_for_prediction(model, device)
    return Run(path, config, model, scalars, errors, load_error_map(path, model))


def load_denoiser(model: VSE, path: Path, settings: Settings) -> None:
    """Read the denoiser of the mixed input, a run inside the run, into the splitter."""
    if settings.denoiser is None:
        raise ValueError(f"{path}: settings without denoisers")
    run = load(path / DENOISERS / MIXED, device="cpu")
    samples = settings.denoiser.samples
    model.denoiser = Denoiser(run.model, samples=samples, tile=run.tile, halo=run.halo)


def save_error_map(
    error_map: ErrorMap, path: Path, correction: MeanCorrection | None = None
) -> None:
    """Write the error map of a run folder, and the correction of decoded means that it sees."""
    write_bytes(path / ERROR_MAP, error_map_file(error_map, correction))


def error_map_file(error_map: ErrorMap, correction: MeanCorrection | None = None) -> bytes:
    """Return the content of the file of an error map, and of the correction of decoded means."""
    state = _state(error_map)
    if correction is not None:
        state |= {MEANS + name: value for name, value in _state(correction).items()}
    return save_tensors(state)


def error_map_margin(model: VSE) -> int:
    """Return what the error map and the correction that it sees add to the halo, px."""
    radius = RADIUS if model.mean_correction is None else 2 * RADIUS
    return -(-radius // model.stride) * model.stride if model.supports_tiling else 0


def load_error_map(path: Path, model: VSE) -> ErrorMap | None:
    """Read the error map of a run folder, if it has one, to the device of the network.

    The correction of decoded means goes into the network.

    Raises
    ------
    InputError
        If it is damaged, or of another network.
    """
    if not (path / ERROR_MAP).is_file():
        return None
    try:
        state = read_safetensors(path / ERROR_MAP)
        correction = {n.removeprefix(MEANS): v for n, v in state.items() if n.startswith(MEANS)}
        with torch.random.fork_rng(devices=[]):  # their initial weights are not used
            error_map = error_map_of(state, model.structures)
            if correction:
                correct_means(model, mean_correction_of(correction, model.structures))
    except InputError:
        raise
    except ValueError as error:
        problem = f"the error map is not readable ({error})"
        raise InputError(problem, where=path / ERROR_MAP, remedy="copy the run again") from None
    return error_map.to(model.input_mean.device)


def correct_means(model: VSE, correction: MeanCorrection | None) -> None:
    """Give a network a correction of its decoded means, on its device."""
    model.mean_correction = None if correction is None else correction.to(model.input_mean.device)


def _halo_errors(path: Path, stored: Any, model: VSE) -> dict[int, float]:
    """Check the measured halos of calibration.json; older runs have the exact one."""
    stride = model.stride
    if not model.supports_tiling:
        return {}
    if stored is None:
        return {EXACT * stride: 0.0}
    try:
        errors = {int(halo): float(error) for halo, error in stored.items()}
    except (AttributeError, TypeError, ValueError):
        errors = {}
    if not errors or any(halo < 0 or halo % stride or not e >= 0 for halo, e in errors.items()):
        problem = f"`halo_errors` does not map multiples of {stride} px to numbers of 0 or more"
        raise InputError(problem, where=path, remedy="copy the run again")
    return errors


def prepare_for_prediction(model: VSE, device: torch.device | str | None = None) -> None:
    """Move a network in place: to its device, evaluation mode and the faster memory layout."""
    model.to(device or default_device(), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def load_config(path: Path) -> RunConfig:
    """Read config.yaml of a run folder, of this format or an earlier one.

    Raises
    ------
    InputError
        See `load`.
    """
    if not (path / CONFIG).is_file():
        problem = "this folder holds no config.yaml" if path.is_dir() else "no such folder"
        raise InputError(problem, where=path, remedy="name the run folder of a training")
    return parse(RunConfig, read_config(path / CONFIG), path / CONFIG)


def save_config(path: Path, config: RunConfig) -> None:
    """Write config.yaml."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path / CONFIG, text)


def save_weights(model: VSE, path: Path) -> None:
    """Write weights and normalisation buffers as safetensors."""
    write_bytes(path, save_tensors(_state(model)))


def _state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}


def read_network(settings: Settings, path: Path) -> VSE:
    """Build the network of some settings with the weights in a file.

    Raises
    ------
    InputError
        See `load`.
    """
    state = _weights(path)
    with torch.device("meta"):  # settings of a huge network take no memory before they are checked
        _fill(build_network(settings), {k: v.to("meta") for k, v in state.items()}, path)
    with torch.random.fork_rng(devices=[]):  # its initial weights are not used
        model = build_network(settings)
    _fill(model, state, path)
    return model


def load_weights(model: VSE, path: Path) -> None:
    """Read weights into a network, in place; names and shapes must agree."""
    _fill(model, _weights(path), path)


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """Read weights and normalisation buffers, and check their values."""
    try:
        state = read_safetensors(path)
        for name, value in state.items():
            least = 0.0 if name.endswith("running_var") else FLOAT32.tiny
            if name.endswith(("running_var", "_std")) and (value < least).any():
                raise ValueError(f"{name} is not positive")
    except InputError:
        raise
    except ValueError as error:
        problem = f"the weights are not readable ({error})"
        raise InputError(problem, where=path, remedy="copy the run again") from None
    return state


def _fill(model: VSE, state: dict[str, torch.Tensor], path: Path) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        detail = (str(error).splitlines()[1:2] or [str(error)])[0].strip()
        problem = f"these are weights of another network than that of {CONFIG} ({detail})"
        raise InputError(problem, where=path, remedy="do not mix files of two runs") from None
