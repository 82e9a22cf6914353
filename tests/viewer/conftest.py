"""Runs of untrained networks, which are made in no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from denoisplit.files.json_file import read_json, write_json
from denoisplit.run import METRICS

from ..packaging.conftest import make_run, structure_files

VERDICTS = ["ER is split: it is better.", "MT is not usable: it is not."]


@pytest.fixture(scope="package")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without an error map and without a verdict."""
    folder = tmp_path_factory.mktemp("runs")
    return make_run(folder / "er-mt", structure_files(folder / "images", ("ER", "MT"), (64, 64)))


@pytest.fixture(scope="package")
def mapped_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with both; its intervals are of 0.5 and 0.9."""
    folder = tmp_path_factory.mktemp("mapped")
    files = structure_files(folder / "images", ("ER", "MT"), (64, 64))
    run = make_run(folder / "er-mt", files, error_map=True)
    verdicts = [{"sentence": sentence} for sentence in VERDICTS]
    write_json(run / METRICS, read_json(run / METRICS) | {"verdicts": verdicts})
    return run
