"""The table of `make consumers`: what is right, what fails, and what noise does without 64 bits."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def matrix(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parent)  # it is a program
    return importlib.import_module("matrix")


@pytest.fixture
def expected() -> dict[str, Any]:
    """Two structures, then what belongs to them, of very different ranges."""
    values = np.random.default_rng(0).random((1, 4, 8, 8)).astype(np.float32)
    return {"test": values * np.array([100, 10, 1, 0.1], np.float32)[:, None, None]}


def text(
    matrix: ModuleType,
    place: Path,
    kind: str,
    expected: dict[str, Any],
    client: str,
    **added: float,
) -> tuple[str, str]:
    """The cell of a client whose channels differ by shares of their ranges."""
    (found,) = (c for c in matrix.KNOWN if c.name.startswith(client))
    for name in found.formats:
        (place / name).mkdir()
        values = expected["test"].copy()
        for channel, share in added.items():
            k = int(channel.removeprefix("channel"))
            values[:, k] += share * np.ptp(values[:, k])
        np.save(place / name / "test.npy", values)
    cell: tuple[str, str] = matrix.cell(found, matrix.Made("denoisplit", kind, 2), place, expected)
    return cell


def test_what_agrees_is_a_number(
    matrix: ModuleType, tmp_path: Path, expected: dict[str, Any]
) -> None:
    assert text(matrix, tmp_path, "mmse", expected, "core 0.11", channel3=5e-5) == ("5e-05", "")


@pytest.mark.parametrize("client", ["core 0.11", "BiaPy", "onnxruntime-web", "OpenVINO"])
def test_an_error_of_a_small_channel_is_seen(
    matrix: ModuleType, tmp_path: Path, expected: dict[str, Any], client: str
) -> None:
    """Its range is a thousandth of that of the largest."""
    cell, problem = text(matrix, tmp_path, "fast", expected, client, channel3=2e-4)
    assert cell.startswith("FAILS (") and "std 2e-04" in cell and problem


def test_noise_may_differ_where_integers_are_cut(
    matrix: ModuleType, tmp_path: Path, expected: dict[str, Any]
) -> None:
    cell = text(matrix, tmp_path, "mmse", expected, "OpenVINO", channel0=1e-5, channel2=0.3)
    assert cell == ("noise differs (means 1e-05, std 3e-01)", "")


def test_no_output_fails(matrix: ModuleType, tmp_path: Path, expected: dict[str, Any]) -> None:
    """Also that of an image of odd size, and noise is no excuse for it."""
    more = expected | {"odd": expected["test"][..., :5, :5]}
    cell, _ = text(matrix, tmp_path, "mmse", more, "OpenVINO")
    assert cell == "FAILS (means inf, std inf)"


def test_what_a_client_reports_fails(
    matrix: ModuleType, tmp_path: Path, expected: dict[str, Any]
) -> None:
    (tmp_path / "torchscript.txt").write_text("mismatched elements")
    cell, problem = text(matrix, tmp_path, "mmse", expected, "core 0.11")
    assert cell.startswith("FAILS") and problem == "torchscript: mismatched elements"


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("bioimageio.core (0.10.4)", []),
        ("bioimageio.core (0.11.0)", []),
        ("bioimageio.core (0.12.1)", ["core 0.12.1, onnxruntime"]),
        ("", []),
    ],
)
def test_a_newer_core_is_tested_too(
    matrix: ModuleType, monkeypatch: pytest.MonkeyPatch, answer: str, names: list[str]
) -> None:
    environments = importlib.import_module("environments")
    done = type("Done", (), {"stdout": answer})
    monkeypatch.setattr(environments.subprocess, "run", lambda *_, **__: done)
    assert [client.name for client in environments.newer_core()] == names
