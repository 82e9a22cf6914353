"""All commands and public functions: JSON, signatures, arrays, numbers of NumPy, random state."""

from __future__ import annotations

import importlib
import inspect
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from denoisplit_zoo.checking import check as checking

import denoisplit
from denoisplit.config.commands import COMMANDS
from denoisplit.run import Run

from ..packaging.conftest import ABOUT, SMALL
from ..packaging.conftest import light as light
from .conftest import Bench

Call = Callable[..., Any]
FUNCTIONS = [name for name in denoisplit.__all__ if name.islower() and name[0] != "_"]
FIT = {"steps": 20, "components": 1}


@pytest.fixture
def images(bench: Bench) -> dict[str, np.ndarray]:
    return {name: tifffile.imread(bench.image(name)) for name in ("ER", "MT")}


def document(answer: Any) -> dict[str, Any]:
    """The one document on standard output."""
    printed: dict[str, Any] = json.loads(answer.out)
    assert printed["denoisplit"] == denoisplit.__version__
    return printed


def test_every_command_prints_json() -> None:
    assert all("json" in {option.name for option in c.options} for c in COMMANDS.values())


def test_json_alone_on_standard_output(
    call: Call,
    works: Call,
    bench: Bench,
    run_folder: Path,
    light: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = bench.structures("ER", "MT")
    printed = document(works("superpose", *both, "-o", "m.tif", "--json"))
    assert printed["files"] == ["m.tif"]
    printed = document(works("predict", run_folder, "m.tif", "-o", "out", "--samples", 0, "--json"))
    assert {Path(file).is_file() for file in printed["files"]} == {True}
    printed = document(works("evaluate", run_folder, *both, "--samples", 2, "--json"))
    assert printed["run"] == "er-mt" and printed["input"] == {"ER": ["ER.tif"], "MT": ["MT.tif"]}
    fit = ("noise-model", "fit", "--clean", bench.image("ER"), "--components", 1)
    printed = document(works(*fit, "--synthetic-poisson", 2, "-o", "n.npz", "--json"))
    assert printed["model"] == "n.npz"
    assert document(works("inspect", run_folder, "--json"))["kind"] == "run"
    package = ("--tile", 96, "--halo", 32, "--samples", 2, "--test-image", "m.tif")
    printed = document(works("export", run_folder, "-o", "p.zip", *package, "--json"))
    assert printed["files"] == ["p.zip"]
    # the weights are none, so the check fails, and says why
    monkeypatch.setattr(checking, "_runs", lambda *_: iter(()))
    monkeypatch.setattr(checking, "look_up_accounts", lambda *_: ([], []))
    checked = call("check", "p.zip", "--json")
    assert checked.code == 1 and not document(checked)["passed"]
    assert any("ONNX" in text for text in document(checked)["problems"]["core"])
    assert document(works("import", "p.zip", "-o", "again", "--json"))["run"] == "again"
    assert document(works("data", "check", ".", "--json"))["lines"][0].startswith("T1")


@pytest.mark.parametrize("name", ["train", "calibrate"])
def test_json_of_a_run(
    works: Call, trained: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"denoisplit.commands.{name}")
    monkeypatch.setattr(module, name, lambda **_: trained)
    words = {"train": ["--structure", "ER", "a.tif", "-o", "run"], "calibrate": ["run"]}[name]
    printed = document(works(name, *words, "--json"))
    assert printed["run"] == str(trained.path)
    assert printed["metrics"]["denoisplit"] == denoisplit.__version__


def test_results_name_release_run_and_input(works: Call, bench: Bench, run_folder: Path) -> None:
    for name in ("metrics.json", "calibration.json"):
        stored = json.loads((run_folder / name).read_text())
        assert stored["denoisplit"] == denoisplit.__version__
    works("superpose", *bench.structures("ER", "MT"), "-o", "m.tif", "--run", run_folder)
    with tifffile.TiffFile("m.tif") as file:
        assert file.ome_metadata is not None and "er-mt" in file.ome_metadata
        assert "MT.tif" in file.ome_metadata and denoisplit.__version__ in file.ome_metadata


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_name_every_argument(name: str) -> None:
    kinds = {p.kind for p in inspect.signature(getattr(denoisplit, name)).parameters.values()}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}


def calls(trained: Run, images: Mapping[str, np.ndarray]) -> dict[str, Callable[[], Any]]:
    """A call of every public function but those of whole trainings, with arrays where possible."""
    two, seed, side = np.int64(2), np.uint8(3), np.int64(96)
    run, mixed = denoisplit.load(trained.path), sum(images.values())
    return {
        "load": lambda: denoisplit.load(trained.path),
        "superpose": lambda: denoisplit.superpose(
            images, "m.tif", synthetic_poisson=np.float32(2), seed=seed
        ),
        "predict": lambda: denoisplit.predict(run, ["m.tif"], "out", samples=two, seed=seed),
        "run.predict": lambda: run.predict(
            mixed, axes="TYX", samples=two, interval=np.float64(0.9)
        ),
        "evaluate": lambda: denoisplit.evaluate(run, images, samples=two, seed=seed),
        "inspect": lambda: denoisplit.inspect(mixed[0], run=run),
        "figure": lambda: denoisplit.figure(
            "calibration", run, "f.png", structures=images, samples=two, frame=np.int32(0)
        ),
        "fit_noise_model": lambda: denoisplit.fit_noise_model(
            "n.npz", clean=images["ER"], synthetic_poisson=np.float64(2), noise_model_fit=FIT
        ),
        "export": lambda: denoisplit.export(
            run,
            "p.zip",
            about=ABOUT,
            test_image=mixed[0],
            samples=two,
            tile=side,
            halo=side // 3,
        ),
        "import_package": lambda: denoisplit.import_package("p.zip", "again"),
    }


def test_arrays_and_numbers_of_numpy_are_taken_and_no_random_state_is_changed(
    trained: Run, images: dict[str, np.ndarray], light: None
) -> None:
    def states() -> list[Any]:
        legacy = np.random.get_state()  # noqa: NPY002
        return [random.getstate(), repr(legacy), torch.get_rng_state().tolist()]

    for name, call in calls(trained, images).items():
        before = states()
        call()
        assert states() == before, name
    assert all(Path(name).exists() for name in ("m.tif", "out", "f.png", "n.npz", "p.zip", "again"))


def test_figure_and_export_show_the_given_arrays(
    trained: Run, images: dict[str, np.ndarray], bench: Bench, light: None
) -> None:
    files = {name: bench.image(name) for name in images}
    for number, given in enumerate((images, files)):
        denoisplit.figure("3", trained, f"{number}.png", structures=given, samples=2)
    assert Path("0.png").read_bytes() == Path("1.png").read_bytes()
    mixed = tifffile.imread(bench.image("mixed"))[0]
    package = denoisplit.export(trained, "p.zip", about=ABOUT, test_image=mixed, **SMALL)
    assert package.is_file()


def test_compare_takes_arrays(images: dict[str, np.ndarray], bench: Bench) -> None:
    """What is refused after its arrays are written leaves none of them."""
    with pytest.raises(denoisplit.InputError, match="max_steps"):
        denoisplit.compare(images, "out", systems=("denoisplit", "musplit"))
    assert not list(Path().iterdir())
