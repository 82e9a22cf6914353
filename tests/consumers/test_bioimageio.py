"""Test of exported packages with bioimageio.core: its own test, and prediction whole and in blocks.

Processes begin with the libraries of bioimageio loaded, see tests/forked.py.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from denoisplit_zoo import check, export
from denoisplit_zoo.archive import pack
from denoisplit_zoo.checking.bioimageio_program import run_bioimageio

from denoisplit.commands.predict import predict
from denoisplit.images import read_image
from denoisplit.run import load, save_error_map

from ..forked import BIOIMAGEIO, commands
from .compare import compared
from .small_runs import small_runs

SAMPLES, TILE, HALO = 2, 128, 32
FORMATS = ("pytorch_state_dict", "torchscript", "onnx")
BORDER = 64  # px within reach of what is reflected, a little differently, to fill the last stride


@pytest.fixture(scope="module")
def run(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained run with the names, images and intensities of real structures."""
    cells = data_dir / "nf1_cells"
    files = {"ER": [cells / "er.tif"], "actin": [cells / "actin.tif"]}
    run: Path = small_runs().make_run(tmp_path_factory.mktemp("runs") / "er-actin", files)
    return run


@pytest.fixture(scope="module")
def mapped(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with an error map."""
    folder = Path(shutil.copytree(run, tmp_path_factory.mktemp("mapped") / "er-actin"))
    model, made = load(folder, device="cpu").model, small_runs()
    save_error_map(made.random_error_map(model), folder, made.random_correction(model))
    return folder


@pytest.fixture(scope="module")
def package(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("packages") / "er-actin.zip"
    return export(run, output, samples=SAMPLES, tile=TILE, halo=HALO, seed=3)


@pytest.fixture(scope="module", autouse=True)
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of bioimageio, which `check` and `compared` use too."""
    with (
        commands(tmp_path_factory.mktemp("programs"), "bioimageio", imported=BIOIMAGEIO) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):

        def run(*arguments: Any, programs: Path | None = None) -> tuple[int, str]:
            return run_bioimageio(*arguments, programs=programs or folder)

        for module in ("denoisplit_zoo.checking.check", f"{__package__}.compare"):
            patch.setattr(f"{module}.run_bioimageio", run)
        yield folder


@pytest.fixture(scope="module")
def bioimageio(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The program, in a folder of its own; it must succeed."""
    env = os.environ | {
        "BIOIMAGEIO_CACHE_PATH": str(tmp_path_factory.mktemp("cache")),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        # whoever asks the internet for something gets no answer
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    env.pop("PYTHONPATH", None)

    def call(*arguments: str | Path, cwd: Path) -> str:
        done = subprocess.run(
            [programs / "bioimageio", *map(str, arguments)], cwd=cwd, env=env,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        text = done.stdout + done.stderr
        assert done.returncode == 0, text
        return text

    return call


def test_bioimageio_test_passes(
    bioimageio: Callable[..., str], package: Path, tmp_path: Path
) -> None:
    log = bioimageio("test", package, cwd=tmp_path)
    assert "passed" in log
    for weights in FORMATS:
        assert f"Reproduce test outputs from test inputs ({weights})" in log
    assert "❌" not in log


@pytest.mark.parametrize(
    ("kind", "samples"),
    [
        pytest.param("mmse", 2, marks=pytest.mark.slow),  # its parts are those of the others
        ("fast", None),
        pytest.param("interval", None, marks=pytest.mark.slow),
        pytest.param("samples", 1, marks=pytest.mark.slow),
        pytest.param("split", 2, marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_a_run_with_an_error_map_passes(
    bioimageio: Callable[..., str], mapped: Path, tmp_path: Path, kind: str, samples: int | None
) -> None:
    file = export(
        mapped, tmp_path / "package.zip", kind=kind, samples=samples, tile=TILE, halo=HALO
    )
    log = bioimageio("test", file, cwd=tmp_path)
    for weights in FORMATS:
        assert f"Reproduce test outputs from test inputs ({weights})" in log
    assert "❌" not in log


def changed(
    package: Path, to: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]
) -> Path:
    """A package with other files, or another description."""
    with zipfile.ZipFile(package) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    described = yaml.safe_load(files["rdf.yaml"])
    change(files, described)
    files["rdf.yaml"] = yaml.safe_dump(described, sort_keys=False).encode()
    to.write_bytes(pack(files))
    return to


def test_check_runs_a_package_in_bioimageio(package: Path, tmp_path: Path) -> None:
    """Passes where nothing but people are missing; blocks, whole and all formats are run."""

    def by_somebody(_: dict[str, bytes], described: dict[str, Any]) -> None:
        described["authors"] = [{"name": "Ada L."}]

    (tmp_path / "cache").write_text("")  # bioengine's environment is left out; `make lines` has it
    result = check(
        changed(package, tmp_path / "package.zip", by_somebody), environments=tmp_path / "cache"
    )
    assert result.notes == []  # all formats are run
    assert result.text.splitlines()[4].startswith("bioengine   not run: no environment could be ")
    problems = result.problems
    assert problems["core"] == problems["ilastik"] == problems["deepImageJ"] == []
    (missing,) = problems["zoo"]
    assert missing.startswith("missing metadata: maintainers, git_repo, training_data (")


@pytest.mark.slow
def test_check_names_what_bioimageio_finds(package: Path, tmp_path: Path) -> None:
    """An output that the weights do not give."""

    def brighter(files: dict[str, bytes], described: dict[str, Any]) -> None:
        stream = io.BytesIO()
        np.save(stream, np.load(io.BytesIO(files["test_output.npy"])) + 50)
        files["test_output.npy"] = stream.getvalue()
        digest = hashlib.sha256(files["test_output.npy"]).hexdigest()
        described["outputs"][0]["test_tensor"]["sha256"] = digest
        del described["weights"]["pytorch_state_dict"], described["weights"]["onnx"]
        described["weights"]["torchscript"].pop("parent")

    problems = check(changed(package, tmp_path / "bad.zip", brighter), run_code=True).problems
    assert any("bioimageio test of torchscript failed: " in p for p in problems["deepImageJ"])
    assert "the pytorch_state_dict weights are missing" in problems["ilastik"]


@pytest.fixture(scope="module")
def mixed(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A superposition of real fields, of odd size."""
    cells = data_dir / "nf1_cells"
    er, actin = (read_image(cells / name).values.reshape(-1, *read_image(cells / name).shape[-2:])
                 for name in ("er.tif", "actin.tif"))  # fmt: skip
    image = (er[0].astype(np.float32) + actin[0])[:201, :235]
    path = tmp_path_factory.mktemp("images") / "mixed.tif"
    tifffile.imwrite(path, image)
    return path


@pytest.fixture(scope="module")
def expected(run: Path, mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What ``denoisplit predict --noise-address content`` makes of it, (4, Y, X), as a whole."""
    output = tmp_path_factory.mktemp("predicted")
    paths = predict(
        load(run, device="cpu"), [mixed], output, samples=SAMPLES, seed=3,
        noise_address="content", tile=512, halo=HALO,
    )  # fmt: skip
    return np.concatenate([tifffile.imread(path) for path in paths])


def predicted(
    bioimageio: Callable[..., str], package: Path, image: Path, folder: Path, *options: str
) -> np.ndarray:
    bioimageio(
        "predict", package, "--inputs", f'[["{image.as_posix()}"]]', "--outputs",
        "split.tif", *options, cwd=folder,
    )  # fmt: skip
    found: np.ndarray = tifffile.imread(folder / "split.tif")
    return found.reshape(-1, *found.shape[-2:])


def test_whole_image_is_what_the_python_package_predicts(
    bioimageio: Callable[..., str], package: Path, mixed: Path, expected: np.ndarray,
    tmp_path: Path,
) -> None:  # fmt: skip
    found = predicted(bioimageio, package, mixed, tmp_path)
    assert found.shape == expected.shape
    scale = np.ptp(tifffile.imread(mixed))
    inside = np.s_[:, BORDER:-BORDER, BORDER:-BORDER]
    assert np.abs(found - expected)[inside].max() < 1e-2 * scale
    # far from every border not even what was reflected matters
    assert np.abs(found - expected)[:, 96:105, 96:139].max() < 1e-4 * scale
    assert found[2:].mean() > 1e-2 * scale  # other noise would be seen


@pytest.mark.parametrize("kind", ["mmse", pytest.param("interval", marks=pytest.mark.slow)])
def test_blocks_are_what_the_python_package_predicts(
    run: Path, mapped: Path, package: Path, mixed: Path, tmp_path: Path, kind: str
) -> None:
    """Small: tests/consumers/compare.py does it with trained runs, all formats, large images."""
    if kind == "interval":
        run = mapped
        package = export(run, tmp_path / "package.zip", kind=kind, tile=TILE, halo=HALO)
    (row,) = compared(run, package, mixed, tmp_path, whole=(), blocks=["onnx"])
    # the last block of an axis is moved inside the image, off the network's grid: other samples
    assert f"rows to {201 - 64}, columns to {235 - 64}" in row.name
    assert row.difference < row.allowed == 1e-2
