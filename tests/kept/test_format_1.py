"""Runs, jobs and packages of settings format 1 are still read, and give what they gave.

Results are compared to within rounding, since a CPU of another type sums in another order; on the
CPU that wrote them, with its two threads, they are the same to the bit.
"""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import denoisplit_zoo
import numpy as np
import pytest
import tifffile
import torch
import yaml
from safetensors.numpy import load_file

import denoisplit
from denoisplit.cli.main import main
from denoisplit.config.migration import REMOVED
from denoisplit.errors import InputError

KEPT = Path(__file__).with_name("format_1")
OPTIONS: dict[str, Any] = {
    "samples": 4, "keep_samples": 2, "tile": 32, "halo": 16, "compile": "off"
}  # fmt: skip
ROUNDING = 1e-5  # of the range of the values


@pytest.fixture(autouse=True)
def _in_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(KEPT, tmp_path / "kept"))


@pytest.fixture
def _two_threads() -> Iterator[None]:
    """As many threads as wrote the files: their number changes rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def close(actual: np.ndarray, expected: np.ndarray, share: float = ROUNDING) -> bool:
    same_form = actual.shape == expected.shape and actual.dtype == expected.dtype
    return same_form and np.abs(actual - expected).max() <= share * np.ptp(expected)


def check_results(folder: str) -> None:
    """The same files with the same pixels, channels and identity of what made them."""
    names = sorted(path.name for path in Path("results").iterdir())
    assert sorted(path.name for path in Path(folder).iterdir()) == names
    for name in names:
        files = [tifffile.TiffFile(Path(place) / name) for place in (folder, "results")]
        with files[0] as new, files[1] as old:
            assert close(new.asarray(), old.asarray()), name
            assert _without_uuid(new.ome_metadata) == _without_uuid(old.ome_metadata)


def _without_uuid(text: str | None) -> str:
    # names and colours that results record since
    text = re.sub(r' Color="-?\d+"', "", html.unescape(text or ""))
    text = re.sub(r'"(denoisplit|run|input)": "[^"]*", ', "", text)
    before, _, rest = text.partition('UUID="')
    return before + rest.partition('"')[2].partition("Creator")[2].partition(">")[2]


def columns(path: str) -> list[list[str]]:
    """Rows of a history without the time that they took, and without a younger column."""
    rows = [line.split(",") for line in Path(path).read_text().splitlines()]
    kept = [i for i, name in enumerate(rows[0]) if name not in ("seconds", "val_risk")]
    return [[row[i] for i in kept] for row in rows]


@pytest.mark.usefixtures("_two_threads")
def test_a_run_predicts_what_it_predicted() -> None:
    denoisplit.predict("run", ["mixed.tif"], "new", **OPTIONS)
    check_results("new")


@pytest.mark.usefixtures("_two_threads")
def test_an_interrupted_prediction_is_continued() -> None:
    marker = Path("job/mixed_split.unfinished/split.ome.zarr/0/0/0/0")
    before = marker.read_bytes()
    denoisplit.predict("run", ["mixed.tif"], "job", resume=True, **OPTIONS)
    assert before and not marker.exists()
    check_results("job")


@pytest.mark.slow
def test_an_interrupted_training_is_resumed_to_the_same_end() -> None:
    for name in ("interrupted", "run"):
        changed(name, **{"settings.prediction.error_map_steps": 2})
    begun = columns("interrupted/history.csv")
    run = denoisplit.train(None, "interrupted", resume=True)
    history, expected = (columns(f"{name}/history.csv") for name in ("interrupted", "run"))
    assert [row[:2] for row in history] == [row[:2] for row in expected]
    assert history[:2] == begun[:2]  # the epoch of the checkpoint
    assert run.config.settings == denoisplit.load("run").config.settings
    weights, stored = (load_file(f"{n}/model.safetensors") for n in ("interrupted", "run"))
    assert weights.keys() == stored.keys()
    names = [name for name in stored if name.endswith(("weight", "bias"))]
    first, last = (np.concatenate([w[n].ravel() for n in names]) for w in (stored, weights))
    # 190 steps enlarge differences of rounding
    assert np.linalg.norm(last - first) < 0.02 * np.linalg.norm(first)
    # the moments of the averaged weights are measured since, so calibrations differ
    moments = [name for name in stored if name.endswith("running_mean")]
    assert any((weights[name] != stored[name]).any() for name in moments)


@pytest.mark.usefixtures("_two_threads")
def test_a_package_is_imported_and_predicts_as_the_run() -> None:
    run = denoisplit_zoo.import_package("package.zip", "imported")
    denoisplit.predict(run, ["mixed.tif"], "new", **OPTIONS)
    check_results("new")


def test_a_config_file_serves_for_training(capsys: pytest.CaptureFixture[str]) -> None:
    changed(**{"settings.prediction.error_map_steps": 2})
    line = ["train", "-q", "--config", "run/config.yaml", "-o", "again", "--max-steps", "2"]
    assert main(line) == 0
    settings = denoisplit.load("again").config.settings
    expected = denoisplit.load("run").config.settings
    training = expected.training.model_copy(update={"max_steps": 2})
    assert settings == expected.model_copy(update={"training": training})
    written = yaml.safe_load(Path("again/config.yaml").read_text())
    assert written["format_version"] == 2


def test_a_run_gets_an_error_map() -> None:
    changed(**{"settings.prediction.error_map_steps": 2})
    before = denoisplit.load("run")
    assert before.error_map is None
    after = denoisplit.calibrate("run")
    assert after.mapping(0.9) is not None and after.config == before.config
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name])


# ---------------------------------------------------------------- what is refused


def changed(run: str = "run", **keys: Any) -> None:
    """Change the config.yaml of a run: dotted keys of its settings, or its version."""
    path = Path(run, "config.yaml")
    values = yaml.safe_load(path.read_text())
    for name, value in keys.items():
        group = values
        *groups, key = name.split(".")
        for part in groups:
            group = group[part]
        group[key] = value
    path.write_text(yaml.safe_dump(values))


@pytest.mark.parametrize("name", [name for name in REMOVED if not name.startswith("denoiser")])
def test_a_removed_setting_with_another_value_is_refused(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(**{f"settings.{name}": 0.5})
    constant = REMOVED[name]
    expected = (
        f"run/config.yaml: {name} = 0.5 is no longer supported: the value is always {constant}; "
        "delete this line to use the run as it is; to resume its training, use the release of "
        "denoisplit that started it"
    )
    with pytest.raises(InputError) as caught:
        denoisplit.load("run")
    assert str(caught.value) == expected
    assert main(["train", "--config", "run/config.yaml", "-o", "again"]) == 2
    assert capsys.readouterr().err == f"denoisplit train: error: {expected}\n"
    assert not Path("again").exists()


@pytest.mark.parametrize("version", [0, 3, "x", None])
def test_an_unknown_version_is_refused(version: Any) -> None:
    changed(format_version=version)
    expected = (
        f"run/config.yaml: format version {version} is unknown; this release reads versions 1 to "
        "2; use the release of denoisplit that wrote the file"
    )
    with pytest.raises(InputError) as caught:
        denoisplit.load("run")
    assert str(caught.value) == expected


def test_a_removed_setting_is_unknown_in_format_2() -> None:
    changed(format_version=2)
    with pytest.raises(InputError, match=r"unknown key settings\.training\.cosine_from"):
        denoisplit.load("run")
