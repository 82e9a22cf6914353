"""``denoisplit check`` in OpenVINO, which tests/consumers/matrix.py runs in an environment."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from denoisplit_zoo.archive import Contents, read_package
from denoisplit_zoo.checking import openvino_program as client


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "find_spec", lambda _: True)


@pytest.fixture
def sampled(package: Path) -> Contents:
    """A package of kind mmse; its graph is not run."""
    return read_package(package)


def of_kind(contents: Contents, kind: str) -> Contents:
    config = contents.description["config"]
    facts = config["denoisplit"] | {"kind": kind}
    description = {**contents.description, "config": {**config, "denoisplit": facts}}
    return dataclasses.replace(contents, description=description)


def answer(monkeypatch: pytest.MonkeyPatch, contents: Contents, added: float) -> None:
    """Let the program return the test output, with something added to the last channel."""

    def run(folder: Path, *command: str) -> tuple[int, str]:
        assert command[-1] == str(folder) and (folder / "inputs" / "test.npy").exists()
        file = contents.description["outputs"][0]["test_tensor"]["source"]
        assert (folder / "weights.onnx").stat().st_size > 0
        (folder / "onnx").mkdir()
        output = folder / "onnx" / "test.npy"
        output.write_bytes(contents.files[file])
        values = np.load(output)
        values[:, -1] += added * np.ptp(values[:, -1])
        np.save(output, values)
        return 0, ""

    monkeypatch.setattr(client, "run_program", run)


def test_nothing_is_checked_without_openvino(
    sampled: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "find_spec", lambda _: None)
    assert client.check_in_openvino(sampled) == ({}, [])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ["mmse", "fast"])
def test_an_equal_output_passes(
    sampled: Contents, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    answer(monkeypatch, sampled, 5e-5)
    assert client.check_in_openvino(of_kind(sampled, kind)) == ({"OpenVINO": []}, [])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ["fast", "interval", "of another program"])
def test_another_output_fails_without_noise(
    sampled: Contents, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    answer(monkeypatch, sampled, 2e-4)
    problems, notes = client.check_in_openvino(of_kind(sampled, kind))
    assert "by 0.0002 of the range" in problems["OpenVINO"][0] and notes == []


@pytest.mark.usefixtures("installed")
def test_noise_that_differs_is_a_note(sampled: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, sampled, 0.3)
    problems, (note,) = client.check_in_openvino(sampled)
    assert problems == {}
    assert "by 0.3 of the range" in note and "kind fast or interval" in note


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("reason", "log"), [("no such operator", ""), ("", "Killed"), ("", "")])
def test_what_openvino_cannot_run_fails(
    sampled: Contents, monkeypatch: pytest.MonkeyPatch, reason: str, log: str
) -> None:
    def run(folder: Path, *_: str) -> tuple[int, str]:
        shutil.rmtree(folder / "inputs")
        if reason:
            (folder / "onnx.txt").write_text(reason)
        return 1, log

    monkeypatch.setattr(client, "run_program", run)
    problems, notes = client.check_in_openvino(sampled)
    text = f"OpenVINO cannot run the onnx weights ({reason or log or 'no output'})"
    assert problems == {"OpenVINO": [text]} and notes == []


@pytest.mark.usefixtures("installed")
def test_a_package_without_test_tensors_fails(sampled: Contents) -> None:
    contents = dataclasses.replace(sampled, description={**sampled.description, "outputs": [{}]})
    problems, _ = client.check_in_openvino(contents)
    assert problems["OpenVINO"][0].endswith("(the package has no test tensors)")
