"""Small untrained runs to export. ``tests/consumers`` reads ``make_run`` from here too."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter

from denoisplit.config.settings import FORMAT_VERSION, Facts, RunConfig, settings_from
from denoisplit.config.systems import SYSTEMS
from denoisplit.data.splits import rule_for, split
from denoisplit.files.json_file import write_json
from denoisplit.images import Frames, fingerprint, read_frames
from denoisplit.network.error_map import ErrorMap, copy_normalisation
from denoisplit.network.mean_correction import MeanCorrection
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.run import (
    METRICS,
    build_network,
    load,
    noise_model_path,
    save_config,
    save_error_map,
    save_weights,
)

SIZES = {"filters": 8, "latents": 4, "levels": 2, "patch": 32}
STRIDE = 4  # px, of a network of these sizes
DEEP = SIZES | {"levels": 4}  # as in preset small
SMALL: dict[str, Any] = {"samples": 2, "tile": 96, "halo": 32}
ONE_PASS = ("fast", "interval")  # kinds without samples
SCORE = {"mean": 1.5, "sem": 0.25}


def small(kind: str) -> dict[str, Any]:
    """Options of a small package of a kind."""
    return SMALL | {"kind": kind} | ({"samples": None} if kind in ONE_PASS else {})


def metrics(names: Sequence[str]) -> dict[str, Any]:
    from denoisplit.report.tables import ROWS

    # with a truth, nothing is estimated without one
    scores = {key: SCORE for key in ROWS if not key.startswith("psnr_estimated")}
    return {
        "frames": 1,
        "samples": 4,
        "structures": dict.fromkeys(names, scores),
        "mean": scores,
        "reference": "noise-free",
    }


def untrained(model: VSE, frames: Sequence[Frames]) -> VSE:
    """A network whose samples differ visibly, with the statistics of the images."""
    means = torch.tensor([float(np.mean(f.images)) for f in frames])
    stds = torch.tensor([float(np.std(f.images)) for f in frames])
    torch.manual_seed(0)
    model.input_mean.copy_(means.sum())
    model.input_std.copy_(stds.sum())
    model.target_mean.copy_(means)
    model.target_std.copy_(stds)
    for name, parameter in model.named_parameters():
        if "latent_out.weight" in name:
            parameter.data.mul_(4)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def random_correction(model: VSE) -> MeanCorrection:
    """An untrained correction of decoded means that adds something everywhere."""
    with torch.random.fork_rng():
        torch.manual_seed(6)
        correction = MeanCorrection(model.structures, filters=4)
        for value in correction.layers[-1].parameters():
            torch.nn.init.normal_(value, std=0.3)
    return correction.eval().requires_grad_(False)


def random_error_map(network: VSE) -> ErrorMap:
    """An error map of random weights, of which no two groups and structures are alike."""
    structures = network.structures
    torch.manual_seed(1)
    error_map = ErrorMap(structures, groups=3, coverages=2, filters=8)
    copy_normalisation(error_map, network)
    steps = torch.tensor([-1.0, 0.0, 1.5])
    error_map.centres.copy_(network.target_mean[:, None] + network.target_std[:, None] * steps)
    error_map.level.copy_(0.1 + 0.05 * torch.arange(structures))
    error_map.correction.copy_(torch.tensor([0.6, 1.0, 1.7]).expand(structures, -1))
    error_map.floor.copy_(torch.tensor([0.03, 0.02, 0.01]).expand(structures, -1))
    error_map.coverages.copy_(torch.tensor([0.5, 0.9]))
    error_map.quantiles.copy_(
        torch.rand(2, structures, 3) + torch.tensor([0.3, 1.2])[:, None, None]
    )
    return error_map.eval()


def make_run(
    path: Path,
    files: dict[str, list[Path]],
    *,
    network: dict[str, Any] = SIZES,
    pixel_size_um: float | None = None,
    error_map: bool = False,
    **settings: Any,
) -> Path:
    """A run folder with everything that a training writes, and an untrained network."""
    given = {
        "structures": [{"name": n, "files": [str(f) for f in fs]} for n, fs in files.items()],
        "network": network,
        "data": {"synthetic_poisson": 1.0, "synthetic_gaussian": 0.5},
        "prediction": {"halo": 32},
    }
    frames = {name: read_frames(paths) for name, paths in files.items()}
    images = [f.images for f in frames.values()]
    checked = settings_from(given | settings)
    parts = split(
        images, names=checked.names, pairing=checked.data.pairing, patch=checked.network.patch,
        rule=rule_for(images, checked.data.split),
    )  # fmt: skip
    config = RunConfig(
        format_version=FORMAT_VERSION,
        settings=checked,
        facts=Facts(
            gaussian_sigma=20.0,
            pooled_std=40.0,
            clip=None,
            input_frame_mean=(sum(float(np.mean(f.images)) for f in frames.values()), 10.0),
            input_range=(3.0, 812.0),
            input_noise_std=25.0,
            content_quantum=2.0,
            frames={part: len(group[0]) for part, group in parts._asdict().items()},
            frame_sizes=[images[0][0].shape],
            pixel_size_um={} if pixel_size_um is None else dict.fromkeys("yx", pixel_size_um),
            fingerprints={name: fingerprint(f.files) for name, f in frames.items()},
            libraries={"torch": torch.__version__},
        ),
    )
    (path / "noise_models").mkdir(parents=True)
    save_config(path, config)
    torch.manual_seed(0)
    model = untrained(build_network(config.settings), tuple(frames.values()))
    save_weights(model, path / "model.safetensors")
    if error_map:
        save_error_map(random_error_map(model), path, random_correction(model))
    scalars = {name: 1.25 - 0.5 * k for k, name in enumerate(files)}
    write_json(path / "calibration.json", {"scalars": scalars})
    write_json(path / METRICS, metrics(tuple(files)))
    (path / "history.csv").write_text("epoch,step,train_loss\n1,100,2.5\n2,200,2.25\n")
    if SYSTEMS[config.settings.system].noise_models:
        for name in files:
            mixture = GaussianMixture(np.zeros((3, 2)), 0, 1000, 0.125, {"source": name})
            noise_model_path(path, name).write_bytes(mixture.to_bytes())
    return path


def blobs(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """A smooth image of uint16 counts, about 100 on average."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)
    return np.clip(100 + 40 * field / field.std(), 0, None).astype(np.uint16)


def structure_files(folder: Path, names: Sequence[str], shape: tuple[int, int]) -> dict[str, Any]:
    """Three frames per structure, each structure one file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for k, name in enumerate(names):
        path = folder / f"structure{k}.tif"
        stack = np.stack([blobs(10 * k + j, shape) for j in range(3)])
        tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "TYX"})
        files[name] = [path]
    return files


@pytest.fixture(scope="package")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two structures, without an error map, that is only read."""
    folder = tmp_path_factory.mktemp("runs")
    files = structure_files(folder / "images", ("ER", "F-actin (60x)"), (150, 160))
    return make_run(folder / "er-actin", files, pixel_size_um=0.1)


@pytest.fixture(scope="package")
def mapped_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with an error map."""
    folder = Path(shutil.copytree(run_folder, tmp_path_factory.mktemp("mapped") / "er-actin"))
    model = load(folder, device="cpu").model
    save_error_map(random_error_map(model), folder, random_correction(model))
    return folder


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports without tracing, where the weights do not matter."""
    for name in ("torchscript", "onnx"):
        monkeypatch.setattr(
            f"denoisplit_zoo.exporting.weights.{name}", lambda graph, name=name: name.encode()
        )


ABOUT: dict[str, Any] = {
    "authors": [{"name": "Ada L."}],
    "maintainers": [{"github_user": "ada"}],
    "license": "MIT",
    "training_data": "Blobs made by the tests.",
    "git_repo": "https://example.org/blobs",
}


@pytest.fixture(scope="package")
def package(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete package that is only read."""
    from denoisplit_zoo import About, export

    output = tmp_path_factory.mktemp("packages") / "er-actin.zip"
    return export(run_folder, output, about=About.model_validate(ABOUT), **SMALL)


def contents(package: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}
