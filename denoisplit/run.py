"""The run folder: everything a trained model is, on disk. Reading it executes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from denoisplit.config.settings import FORMAT_VERSION, MIXED, RunConfig, Settings
from denoisplit.config.systems import SYSTEMS
from denoisplit.config.yaml_file import parse, read_yaml
from denoisplit.data.prepare import superposition_of
from denoisplit.data.superposition import Superposition
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes, write_text
from denoisplit.files.json_file import read_json, write_json
from denoisplit.machine.device import default_device
from denoisplit.network import VSE, ContextVSE, DenoisedVSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.halo import EXACT, SAME, chosen
from denoisplit.prediction.tiles import tile_side

CONFIG, WEIGHTS, CALIBRATION = "config.yaml", "model.safetensors", "calibration.json"
METRICS, HISTORY = "metrics.json", "history.csv"
NOISE_MODELS, CHECKPOINTS, DENOISERS = "noise_models", "checkpoints", "denoisers"


def build_network(settings: Settings) -> VSE:
    """The untrained network of some settings."""
    network = VSE if settings.network.planes == 1 else ContextVSE
    if SYSTEMS[settings.system].denoised:
        network = DenoisedVSE
    return network(
        len(settings.structures),
        log_variance=not SYSTEMS[settings.system].noise_models,
        **settings.network.arguments,
    )


@dataclass(frozen=True)
class Run:
    """A finished run: configuration, network in evaluation mode, calibration scalars.

    ``calibration`` maps each structure to the factor that its posterior std is multiplied by,
    ``halo_errors`` each halo (px) to what tiles differ by with it (`denoisplit.prediction.halo`).
    """

    path: Path
    config: RunConfig
    model: VSE
    calibration: dict[str, float]
    halo_errors: dict[int, float]

    @property
    def halo(self) -> int:
        """What a tile sees around its core, px: as set, or else as measured."""
        return chosen(self.config.settings.prediction.halo, self.halo_errors, SAME)

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
        """The calibration scalars in channel order, (C, 1, 1), for stds (C, Y, X)."""
        scalars = [self.calibration[name] for name in self.names]
        return np.array(scalars, dtype=np.float32)[:, None, None]

    @property
    def superposition(self) -> Superposition:
        """How the structures add up to the input."""
        return superposition_of(self.config.settings)

    def noise_models(self) -> list[GaussianMixture]:
        """The noise models of the structures, in channel order."""
        return [GaussianMixture.load(noise_model_path(self.path, name)) for name in self.names]


def noise_model_path(run: Path, structure: str) -> Path:
    """Where a run keeps the noise model of a structure."""
    return run / NOISE_MODELS / f"{structure}.npz"


def load(path: str | Path, *, device: torch.device | str | None = None) -> Run:
    """Read a run folder.

    Raises
    ------
    InputError
        If the folder is no run, of a newer format, not finished, or its parts do not fit together.
    """
    path = Path(path)
    config = load_config(path)
    for name, stage in ((WEIGHTS, "trained"), (CALIBRATION, "calibrated")):
        if not (path / name).is_file():
            raise InputError(
                where=path,
                found=f"a run without {name}",
                expected=f"a run that is {stage}",
                remedy=f"finish it with `denoisplit train --resume -o {path}`",
            )
    model = build_network(config.settings)
    load_weights(model, path / WEIGHTS)
    stored = read_json(path / CALIBRATION)
    calibration = stored.get("scalars")
    names = config.settings.names
    if not isinstance(calibration, dict) or set(calibration) != set(names):
        raise InputError(
            where=path / CALIBRATION,
            found="scalars of other structures",
            expected=f"one for each of {', '.join(names)}",
            remedy="calibrate the run again",
        )
    for name, value in calibration.items():
        if not (isinstance(value, int | float) and 0 < value < math.inf):
            raise InputError(
                where=path / CALIBRATION,
                found=f"the scalar {value!r} of {name}",
                expected="a positive number",
                remedy="copy the run again",
            )
    scalars = {name: float(calibration[name]) for name in names}
    errors = _halo_errors(path / CALIBRATION, stored.get("halo_errors"), model)
    if isinstance(model, DenoisedVSE):
        put_behind_denoiser(model, path, config.settings)
    ready_to_predict(model, device)
    return Run(path, config, model, scalars, errors)


def put_behind_denoiser(model: DenoisedVSE, path: Path, settings: Settings) -> None:
    """Put the denoiser of the mixed input, a run inside the run, before a splitter."""
    if settings.denoiser is None:
        raise ValueError(f"{path}: settings without denoisers")
    denoiser = load(path / DENOISERS / MIXED, device="cpu")
    model.behind(
        denoiser.model, samples=settings.denoiser.samples, tile=denoiser.tile, halo=denoiser.halo
    )


def _halo_errors(path: Path, stored: Any, model: VSE) -> dict[int, float]:
    """The measured halos of calibration.json; the exact one where none was measured."""
    stride = model.stride
    if isinstance(model, ContextVSE):
        return {}
    if stored is None:
        return {EXACT * stride: 0.0}
    try:
        found = {int(halo): float(error) for halo, error in stored.items()}
    except (AttributeError, TypeError, ValueError):
        found = {}
    if not found or any(halo < 0 or halo % stride or not e >= 0 for halo, e in found.items()):
        raise InputError(
            where=path,
            found="halo_errors that are none",
            expected=f"multiples of {stride} px to shares of the range",
            remedy="copy the run again",
        )
    return found


def ready_to_predict(model: VSE, device: torch.device | str | None = None) -> None:
    """Move a network to its device, in evaluation mode and the faster memory layout."""
    model.to(device or default_device(), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def load_config(path: Path) -> RunConfig:
    """config.yaml of a run folder; see `load` for errors."""
    if not (path / CONFIG).is_file():
        found = "a folder without config.yaml" if path.is_dir() else "no such folder"
        raise InputError(
            where=path,
            found=found,
            expected="the run folder of a training",
            remedy="check the path",
        )
    values = read_yaml(path / CONFIG)
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            where=path / CONFIG,
            found=f"format version {version}",
            expected=f"version {FORMAT_VERSION}",
            remedy="read it with the release of denoisplit that wrote it",
        )
    return parse(RunConfig, values, path / CONFIG)


def save_config(path: Path, config: RunConfig) -> None:
    """Write config.yaml."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path / CONFIG, text)


def save_weights(model: VSE, path: Path) -> None:
    """Write weights and normalisation buffers as safetensors."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_bytes(path, save_tensors(state))


def load_weights(model: VSE, path: Path) -> None:
    """Read weights strictly into a network."""
    try:
        state = load_tensors(path.read_bytes())
        model.load_state_dict(state)
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            where=path,
            found=f"no readable weights ({reason})",
            expected="safetensors",
            remedy="copy the run again",
        ) from None
    except RuntimeError as error:
        detail = str(error).splitlines()[1:2] or [str(error)]
        raise InputError(
            where=path,
            found=f"weights of another network ({detail[0].strip()})",
            expected="those of config.yaml",
            remedy="do not mix files of two runs",
        ) from None


def write_calibration(path: Path, value: dict[str, Any]) -> None:
    """Write calibration.json."""
    write_json(path / CALIBRATION, value)
