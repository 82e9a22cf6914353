"""``denoisplit import``: a package becomes a run that predicts the same, or one line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from denoisplit_zoo import export, import_package
from denoisplit_zoo.exporting.kinds import PACKAGE_KINDS

from denoisplit.errors import InputError
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.run import load

from ..checking.test_check import Files, Spoil, spoiled
from ..conftest import ONE_PASS, SMALL, contents, make_run, small, structure_files


@pytest.mark.parametrize("kind", ["mmse", "samples"])
@pytest.mark.usefixtures("light")
def test_a_run_goes_out_and_comes_back(run_folder: Path, tmp_path: Path, kind: str) -> None:
    file = export(run_folder, tmp_path / "package.zip", kind=kind, **SMALL)
    before, after = load(run_folder), import_package(file, tmp_path / "run")
    frame = np.load(io.BytesIO(contents(file)["test_input.npy"]))[0, 0]
    sampling = Sampling(samples=2, keep=2, seed=4)
    for a, b in zip(
        predict_frame(before.model, frame, sampling), predict_frame(after.model, frame, sampling),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(a, b)
    assert after.calibration == before.calibration
    assert after.config.facts == before.config.facts
    for a, b in zip(before.noise_models(), after.noise_models(), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.buffers(), b.buffers(), strict=True))
    # and out again: the weights and what is known of them are the same
    again = export(after, tmp_path / "again.zip", kind=kind, test_image=_tiff(tmp_path, frame),
                   **SMALL)  # fmt: skip
    first, second = contents(file), contents(again)
    for name in ("weights.pt", "denoisplit.json"):
        assert first[name] == second[name], name


@pytest.mark.parametrize("kind", PACKAGE_KINDS)
@pytest.mark.usefixtures("light")
def test_an_error_map_comes_back_with_kinds_that_have_it(
    mapped_folder: Path, tmp_path: Path, kind: str
) -> None:
    file = export(mapped_folder, tmp_path / "package.zip", **small(kind))
    before, after = load(mapped_folder), import_package(file, tmp_path / "run")
    assert (after.path / "error_map.safetensors").exists() == (kind in ("mmse", *ONE_PASS))
    if kind not in ("mmse", *ONE_PASS):
        assert after.error_map is None
        return
    frame = np.load(io.BytesIO(contents(file)["test_input.npy"]))[0, 0]
    sampling = Sampling(samples=0 if kind in ONE_PASS else 2, seed=4)
    (mean, _, _, bars), (mean_after, _, _, bars_after) = (
        predict_frame(run.model, frame, sampling, mapping=run.mapping(0.9))
        for run in (before, after)
    )
    assert bars is not None and bars_after is not None
    for a, b in zip((mean, *bars), (mean_after, *bars_after), strict=True):
        np.testing.assert_array_equal(a, b)
    again = export(after, tmp_path / "again.zip", test_image=_tiff(tmp_path, frame), **small(kind))
    assert contents(file)["weights.pt"] == contents(again)["weights.pt"]
    assert contents(file)["test_output.npy"] == contents(again)["test_output.npy"]


def _tiff(folder: Path, frame: np.ndarray) -> Path:
    import tifffile

    tifffile.imwrite(folder / "frame.tif", frame)
    return folder / "frame.tif"


@pytest.mark.usefixtures("light")
def test_a_system_without_noise_models(tmp_path: Path) -> None:
    files = structure_files(tmp_path / "images", ["A"], (100, 100))
    run = make_run(tmp_path / "run", files, system="altered_musplit")
    file = export(run, tmp_path / "package.zip", **SMALL)
    assert import_package(file, tmp_path / "back").names == ("A",)


# ---------------------------------------------------------------- refusals


def other_network(files: Files, _: dict[str, Any]) -> None:
    stream = io.BytesIO()
    torch.save({"network.something": torch.zeros(3)}, stream)
    files["weights.pt"] = stream.getvalue()


def no_tensors(files: Files, _: dict[str, Any]) -> None:
    files["weights.pt"] = b"no weights at all"


def attached(**values: Any) -> Spoil:
    """Change the attachment; a value of None is left out."""

    def spoil(files: Files, _: dict[str, Any]) -> None:
        stored = json.loads(files["denoisplit.json"]) | values
        stored = {key: value for key, value in stored.items() if value is not None}
        files["denoisplit.json"] = json.dumps(stored).encode()

    return spoil


def damaged_error_map(files: Files, _: dict[str, Any]) -> None:
    state = torch.load(io.BytesIO(files["weights.pt"]), weights_only=True)
    stream = io.BytesIO()
    torch.save(state | {"error_map.level": torch.zeros(2)}, stream)
    files["weights.pt"] = stream.getvalue()


NOISE = {"weight": [[0.0]] * 3, "min_signal": 0, "max_signal": 9, "min_variance": 0.1}


def no_json(files: Files, _: dict[str, Any]) -> None:
    files["denoisplit.json"] = b"[" * 100_000


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (other_network, "weights.pt: the weights do not belong to the network of config.yaml ("),
        (damaged_error_map, "weights.pt: the error map is not usable (it has "),
        (no_tensors, "weights.pt: this file is not a plain state dict ("),
        (no_json, "denoisplit.json: this file is not usable (it is nested more than 64 levels"),
        (attached(config=None), "denoisplit.json: the key config is missing"),
        (attached(code="x"), "denoisplit.json: unknown key code"),
        (attached(format_version=3), "denoisplit.json: format_version = 3 is not valid"),
        (attached(metrics=[1]), "denoisplit.json: metrics = [1] is not valid"),
        (
            attached(calibration={"scalars": {"ER": 1.0}}),
            "denoisplit.json, calibration.json: expected one calibration scalar for each of ER, ",
        ),
        (
            attached(config={"format_version": 99}),
            "denoisplit.json, config.yaml: format version 99 is unknown",
        ),
        (attached(alarm={"names": []}), "denoisplit.json, alarm.json: the reference of the alarm"),
        (attached(noise_models={}), "the noise model of ER is missing from this package"),
        (attached(noise_models={"../../ER": NOISE}), "the noise model of ER is missing from this"),
        (
            attached(noise_models={"ER": NOISE | {"weight": [[0.0]]}}),
            "denoisplit.json: this file is not usable (weight has shape (1, 1), expected (3J, M))",
        ),
        (attached(noise_models={"ER": NOISE | {"about": {"a": {}}}}), "denoisplit.json: noise_mod"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    package: Path, tmp_path: Path, spoil: Spoil, says: str
) -> None:
    bad = spoiled(package, tmp_path / "bad.zip", spoil)
    _refused(bad, tmp_path, says)


def test_a_changed_file_is_refused(package: Path, tmp_path: Path) -> None:
    def changed(files: Files, _: dict[str, Any]) -> None:
        files["weights.onnx"] += b" "

    bad = spoiled(package, tmp_path / "bad.zip", changed, hashed=False)
    _refused(
        bad, tmp_path, "weights.onnx: this file was changed after the export (another SHA-256)"
    )


def test_a_run_that_is_there_stays(package: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="this output exists already"):
        import_package(package, tmp_path / "run")


def _refused(bad: Path, tmp_path: Path, says: str) -> None:
    with pytest.raises(InputError) as caught:
        import_package(bad, tmp_path / "run")
    text = str(caught.value)
    assert text.startswith(str(bad)) and says in text and "\n" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["bad.zip"]
