"""One tiny run for all tests of the commands, the images it takes, and how a refusal looks."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
import xarray as xr
import yaml

from denoisplit.cli.main import main
from denoisplit.data.simulation import simulate
from denoisplit.images import write_ome_tiff
from denoisplit.run import Run, load

KINDS = {"ER": "mesh", "MT": "filaments", "CCP": "puncta"}
PIXEL_UM = {"x": 0.0625, "y": 0.125}
TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32},
    "training": {"max_steps": 4, "batch": 2},
    "prediction": {"calibration_samples": 4, "error_map_steps": 2},
    "noise_model_fit": {"steps": 20, "components": 1},
}
# without an error map, for trainings of which it is not asked
PLAIN = TINY | {"prediction": {"calibration_samples": 2, "error_map": False}}
NOISE = {"synthetic_poisson": 2.0, "synthetic_gaussian": 1.0}


@dataclass(frozen=True)
class Bench:
    """Images of three structures, and settings of a tiny training."""

    folder: Path

    def image(self, name: str) -> Path:
        return self.folder / f"{name}.tif"

    def structures(self, *names: str) -> list[str]:
        """``--structure NAME FILE`` for each name."""
        return [word for name in names for word in ("--structure", name, str(self.image(name)))]

    def yaml(self, folder: Path, **values: Any) -> str:
        """Settings of a tiny training without an error map, and further ones, as a YAML file."""
        path = folder / "settings.yaml"
        path.write_text(yaml.safe_dump(PLAIN | values))
        return str(path)


def write(path: Path, pixels: np.ndarray, dims: str = "tyx", **pixel_um: float) -> Path:
    """An OME-TIFF of float32 pixels."""
    image = xr.DataArray(np.float32(pixels), dims=list(dims[-pixels.ndim :]))
    image.attrs["pixel_size_um"] = pixel_um
    write_ome_tiff(path, image)
    return path


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands run in an empty folder and leave the logger as it was."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    log = logging.getLogger("denoisplit")
    before = log.handlers, log.propagate, log.level
    yield
    log.handlers, log.propagate, log.level = before


@pytest.fixture(scope="package")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    for name, kind in KINDS.items():
        write(folder / f"{name}.tif", simulate(kind, frames=4, size=64, seed=1), **PIXEL_UM)
    both = sum(tifffile.imread(folder / f"{name}.tif") for name in ("ER", "MT"))
    write(folder / "mixed.tif", both, **PIXEL_UM)
    return Bench(folder)


@pytest.fixture(scope="package")
def run_folder(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was moved after training, whose training images are gone."""
    folder = tmp_path_factory.mktemp("training")
    images = shutil.copytree(bench.folder, folder / "images")
    config = bench.yaml(folder, **TINY, **NOISE)
    code = main([
        "train", "--quiet", "--config", config, "-o", str(folder / "run"),
        "--structure", "ER", str(images / "ER.tif"), "--structure", "MT", str(images / "MT.tif"),
    ])  # fmt: skip
    assert code == 0
    shutil.rmtree(images)
    return Path(shutil.move(folder / "run", tmp_path_factory.mktemp("mail") / "er-mt"))


@pytest.fixture(scope="package")
def trained(run_folder: Path) -> Run:
    return load(run_folder)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """A command line, run in this process."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def works(call: Callable[..., Answer]) -> Callable[..., Answer]:
    """A command line that must succeed."""

    def run(*arguments: object) -> Answer:
        answer = call(*arguments)
        assert answer.code == 0, answer.err
        return answer

    return run


def contents(*folders: Path) -> dict[Path, str]:
    """Every file and folder with a digest of what is in it."""
    paths = [path for folder in folders for path in [folder, *folder.rglob("*")]]
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in paths
    }


@pytest.fixture
def refused(
    call: Callable[..., Answer], bench: Bench, run_folder: Path, tmp_path: Path
) -> Callable[..., str]:
    """A command line that must be refused in one line that holds the given words.

    Nothing may be left behind, and no file that was there may be touched.
    """

    def run(*arguments: object, says: tuple[object, ...]) -> str:
        before = contents(tmp_path, bench.folder, run_folder)
        answer = call(*arguments)
        line = answer.err
        assert answer.code == 2, line
        assert line.endswith("\n") and line.count("\n") == 1, line
        assert re.match(r"denoisplit( [\w -]+)?: error: .+; \S", line), line
        for words in says:
            assert str(words) in line
        assert answer.out == ""
        assert contents(tmp_path, bench.folder, run_folder) == before
        return line

    return run


@pytest.fixture
def read() -> Callable[[Path], np.ndarray]:
    return tifffile.imread


def stack(path: Path, shape: tuple[int, ...], **change: float) -> Path:
    """Frames of random pixels; ``change`` sets the first pixel of the first frame."""
    pixels = np.random.default_rng(0).uniform(10, 90, shape).astype(np.float32)
    if "first" in change:
        pixels.flat[0] = change["first"]
    write_ome_tiff(path, xr.DataArray(pixels, dims=["t", "y", "x"][-len(shape) :]))
    return path


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that no command takes."""
    folder = tmp_path_factory.mktemp("bad")
    good = stack(folder / "good.tif", (4, 64, 64)).read_bytes()
    (folder / "cut.tif").write_bytes(good[: len(good) // 2])
    (folder / "junk.tif").write_bytes(b"no image at all")
    (folder / "junk.mrc").write_bytes(b"no image at all" * 100)
    (folder / "text.txt").write_text("no image")
    (folder / "empty").mkdir()
    rgb = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    tifffile.imwrite(folder / "rgb.tif", rgb, photometric="rgb")
    with mrcfile.new(folder / "complex.mrc") as mrc:
        mrc.set_data(np.ones((4, 64, 64), np.complex64))
    stack(folder / "nan.tif", (4, 64, 64), first=np.nan)
    stack(folder / "infinite.tif", (4, 64, 64), first=np.inf)
    tifffile.imwrite(folder / "constant.tif", np.full((64, 64), 7, np.uint16))
    channels = np.random.default_rng(0).uniform(1, 9, (2, 64, 64)).astype(np.float32)
    write_ome_tiff(folder / "channels.tif", xr.DataArray(channels, dims=["c", "y", "x"]))
    return folder
