"""The demo: its stages, what it leaves out when done before, what it tells."""

from __future__ import annotations

import json
import logging
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import denoisplit_zoo
import denoisplit_zoo.demo as module
import numpy as np
import pytest
import tifffile
from denoisplit_zoo.demo import DemoResult, demo

from denoisplit.cli.main import main
from denoisplit.commands.train import train
from denoisplit.errors import InputError
from denoisplit.run import load

TINY = {
    "network": {"filters": 8, "latents": 4, "levels": 2},
    "training": {"max_steps": 2, "batch": 2},
    "noise_model_fit": {"steps": 20},
}
QUICK = {"max_steps": 2, "samples": 8}


def stand_ins(patch: pytest.MonkeyPatch) -> list[str]:
    """Small images and networks; stand-ins for export and bioimageio that say when they run."""
    called: list[str] = []
    patch.setattr(module, "TRAINING_FRAMES", 4)
    patch.setattr(module, "TRAINING_SIDE", 64)
    patch.setattr(module, "NEW_SIDE", 64)
    patch.setattr(module, "PACKAGE_TILE", 64)

    def tiny(*arguments: Any, **options: Any) -> Any:
        called.append("resume" if options["resume"] else "train")
        options["prediction"] = {**options.get("prediction", {}), "error_map_steps": 2}
        return train(*arguments, **{**TINY, **options})

    def export(run: Any, output: Path, **options: Any) -> Path:
        called.append("export")
        about = options.pop("about").training_data
        assert options == {"samples": 2, "tile": 64, "seed": 0}
        assert ("simulated" in about) == ("simulated" in run.names[0])
        output.write_text(str(run.path))
        return output

    def bioimageio(output: Path, command: str, *arguments: str, log: str) -> int:
        called.append(command)
        assert (output / arguments[0]).exists() and log == f"bioimageio_{command}"
        options = dict(a.removeprefix("--").split("=", 1) for a in arguments[1:])
        if command == "test":
            (output / options["summary"]).write_text('{"status": "passed"}')
        else:
            ((image,),) = json.loads(options["inputs"])
            tifffile.imwrite(output / options["outputs"], tifffile.imread(output / image))
        return 0

    patch.setattr(module, "train", tiny)
    patch.setattr(denoisplit_zoo, "export", export, raising=False)
    patch.setattr(module, "_bioimageio", bioimageio)
    return called


class Done(NamedTuple):
    """A whole demo, and which stages ran."""

    output: Path
    result: DemoResult
    calls: list[str]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    output = tmp_path_factory.mktemp("whole") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        called = stand_ins(patch)
        return Done(output, demo(output, **QUICK), called)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return stand_ins(monkeypatch)


@pytest.fixture
def trained(done: Done, tmp_path: Path) -> Path:
    """A demo that has ended after its training."""
    for name in ("images", "run"):
        shutil.copytree(done.output / name, tmp_path / "trained" / name)
    (tmp_path / "trained" / "images" / "simulated_mixed.ome.tif").unlink()
    return tmp_path / "trained"


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_all_stages_and_none_twice(
    done: Done, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="denoisplit")
    output, made = done.output, done.result
    assert made.passed and done.calls == ["train", "export", "test", "predict"]
    names = [f"simulated_{kind}" for kind in module.SIMULATED]
    images = {f"images/{name}{new}.ome.tif" for name in names for new in ("", "_new")}
    split = {f"split/simulated_mixed_{kind}.ome.tif" for kind in ("split", "std", "samples")}
    assert images | split | {
        "images/simulated_mixed.ome.tif", "run/report.html", "run/config.yaml", "package.zip",
        "bioimageio_test.json", "bioimageio_predict/simulated_mixed_split.tif",
    } <= files(output)  # fmt: skip
    assert all("simulated" in path for path in files(output) if path.endswith(".tif"))
    mixed = tifffile.imread(output / "images" / "simulated_mixed.ome.tif")
    new = [tifffile.imread(output / "images" / f"{name}_new.ome.tif") for name in names]
    assert np.corrcoef(mixed.ravel(), sum(new).ravel())[0, 1] > 0.5

    before = {path: (output / path).stat().st_mtime_ns for path in files(output)}
    again = demo(output, **QUICK)
    assert again == made and calls == ["resume"]
    assert {path: (output / path).stat().st_mtime_ns for path in files(output)} == before
    stages = [message for message in caplog.messages if message.startswith("demo: ")]
    assert len(stages) == 8 and all(stage.endswith("(already done)") for stage in stages)


def test_what_it_tells(done: Done) -> None:
    text, output = done.result.text, done.output
    lines = text.splitlines()
    assert (
        lines[0]
        == "The images are simulated; the results do not show how well real images are split."
    )
    # the verdict on each structure comes first
    assert [line.split(" is ")[0] for line in lines[2:4]] == [
        f"simulated_{kind}" for kind in module.SIMULATED
    ]
    table = lines.index("1 frames, 8 samples")
    assert lines[table + 1].split() == [*(f"simulated_{kind}" for kind in module.SIMULATED), "mean"]
    for row in ("PSNR (dB)", "of a single sample", "of the noisy input", "calibration error"):
        (line,) = [line for line in lines if re.match(rf"\s*{re.escape(row)}  ", line)]
        assert len(re.findall(r"\d+\.\d+", line)) == 3
    assert f"bioimageio test: passed ({output / 'bioimageio_test.json'})" in lines
    told = [word for word in text.split() if word.startswith(str(output))]
    assert len(told) == 6 and all(Path(path).exists() for path in told)


def test_people_of_the_package(
    calls: list[str], trained: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """What the file leaves open is filled in."""
    given = []

    def export(run: Any, output: Path, **options: Any) -> None:
        given.append(options["about"])
        output.write_text("")

    monkeypatch.setattr(denoisplit_zoo, "export", export)
    file = tmp_path / "about.yaml"
    file.write_text("authors: [{name: Ada L.}]")
    demo(trained, about=file, **QUICK)
    (about,) = given
    assert "simulated" in about.training_data
    assert [author.name for author in about.authors] == ["Ada L."]
    bad = tmp_path / "bad.yaml"
    bad.write_text("autors: []")
    with pytest.raises(InputError, match="autors"):
        demo(tmp_path / "other", about=bad, **QUICK)
    assert not (tmp_path / "other").exists()


def test_an_interrupted_demo_goes_on(calls: list[str], trained: Path, monkeypatch: Any) -> None:

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(denoisplit_zoo, "export", interrupted)
        with pytest.raises(KeyboardInterrupt):
            demo(trained, **QUICK)
    (trained / "run" / "report.html").unlink()
    assert demo(trained, **QUICK).passed
    assert calls == ["resume", "resume", "export", "test", "predict"]
    assert (trained / "run" / "report.html").exists()


@pytest.mark.slow
def test_a_new_package_is_tested_anew(calls: list[str], tmp_path: Path) -> None:
    demo(tmp_path, **QUICK)
    calls.clear()
    (tmp_path / "package.zip").unlink()
    (tmp_path / "bioimageio_predict" / "simulated_mixed_split.tif").unlink()
    demo(tmp_path, **QUICK)
    assert calls == ["resume", "export", "test", "predict"]


def test_a_failed_test_ends_with_one(
    calls: list[str], trained: Path, monkeypatch: Any, capsys: Any
) -> None:
    def failing(output: Path, command: str, *arguments: str, log: str) -> int:
        assert command == "test"
        (output / "bioimageio_test.json").write_text('{"status": "failed"}')
        return 1

    monkeypatch.setattr(module, "_bioimageio", failing)
    arguments = ["demo", "-q", "-o", str(trained), "--max-steps", "2", "--samples", "8"]
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert "bioimageio test: FAILED" in told.out and "report:" in told.out
    assert told.err == "denoisplit demo: error: bioimageio's test of the package failed\n"


@pytest.mark.slow
def test_images_of_the_user(calls: list[str], tmp_path: Path, capsys: Any) -> None:
    rng = np.random.default_rng(0)
    given = []
    for name in ("ER", "MT"):
        stack = rng.uniform(0, 200, (4, 64, 64)).astype(np.float32)
        tifffile.imwrite(tmp_path / f"{name}.tif", stack, photometric="minisblack")
        given += ["--structure", name, str(tmp_path / f"{name}.tif")]
    output = tmp_path / "out"
    options = ["--max-steps", "2", "--samples", "2", "--synthetic-gaussian", "0.5"]
    assert main(["demo", "-q", "-o", str(output), *given, *options]) == 0
    assert capsys.readouterr().out.startswith(
        "The images are assumed to be free of noise, and noise is added"
    )
    assert "simulated" not in " ".join(files(output))
    (number,) = load(output / "run").config.facts.held_out["ER"]["test"]
    frame = tifffile.imread(tmp_path / "ER.tif")[number]
    np.testing.assert_array_equal(tifffile.imread(output / "images" / "ER_test.ome.tif"), frame)
    assert {"images/mixed.ome.tif", "split/mixed_split.ome.tif"} <= files(output)


def test_other_settings_are_refused(calls: list[str], trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data.synthetic_gaussian"):
        demo(trained, synthetic_gaussian=2.0, **QUICK)
    with pytest.raises(InputError, match="2 or more"):
        demo(tmp_path / "other", samples=1)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_frame_too_small_for_the_package_is_left_out(
    calls: list[str], tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.setattr(module, "NEW_SIDE", 48)
    made = demo(tmp_path, **QUICK)
    assert made.passed and "predict" not in calls
    assert "are too small for the package" in caplog.text


@pytest.mark.slow
def test_the_real_thing(tmp_path: Path, monkeypatch: Any) -> None:
    """With bioimageio's own commands, on images large enough for its tiles."""
    monkeypatch.setattr(module, "TRAINING_FRAMES", 4)
    monkeypatch.setattr(module, "NEW_SIDE", 256)
    monkeypatch.setattr(module, "PACKAGE_SAMPLES", 2)
    monkeypatch.setattr(module, "train", partial(train, noise_model_fit={"steps": 50}))
    made = demo(tmp_path / "demo", max_steps=3, samples=4)
    assert made.passed
    theirs = tifffile.imread(tmp_path / "demo" / "bioimageio_predict" / "simulated_mixed_split.tif")
    assert theirs.reshape(4, 256, 256).shape == (4, 256, 256)
