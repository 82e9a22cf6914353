"""The script for one pass, on small images and without compilation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tifffile

from denoisplit.run import load

from ..jobs.conftest import with_error_map

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
RUN = Path(__file__).parents[1] / "kept/format_1/run"


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """The module, which imports others beside it."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        import one_pass

        yield one_pass
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) == str(SCRIPTS / f"{name}.py"):
            del sys.modules[name]


def test_every_form_is_timed_and_compared(script: ModuleType, tmp_path: Path, capsys: Any) -> None:
    run = load(with_error_map(RUN, tmp_path / "mapped"))
    files = []
    for k, name in enumerate(run.names):
        images = np.random.default_rng(k).uniform(10, 200, (4, 48, 56)).astype(np.float32)
        tifffile.imwrite(tmp_path / f"{name}.tif", images, photometric="minisblack")
        files.append(f"{name}={tmp_path / name}.tif")
    small = ["--dry", "--side", "40", "--rounds", "1", "--first", "2"]
    script.main([str(run.path), *files, *small])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "|" in line]
    cells = {name.strip(): [cell.strip() for cell in row] for name, *row in rows}
    one, forms = "one pass, float32", [name for name in cells if name.startswith("one pass")]
    assert len(forms) == 4 and cells[one][1:] == ["1.00", "+0.000, +0.000", "0.00 %"]
    assert all(float(cells[name][0]) >= 0 for name in forms)
    # the package in ONNX Runtime is the same function; int8 is another, but near
    assert cells["one pass, ONNX Runtime"][3] == "0.00 %"
    assert 0 < float(cells["one pass, ONNX Runtime, int8"][3].split()[0]) < 50
    assert cells["50 samples, float32"][2:] == ["", ""] and cells["16 samples, float32"][2]


def test_random_weights_have_an_error_map(script: ModuleType) -> None:
    graph = script.random_graph(script.DRY)
    frame = np.random.default_rng(0).normal(size=(21, 34)).astype(np.float32)
    split = script.in_form(graph, script.Form())(frame)
    assert split.shape == (4, 21, 34) and (split[2:] > 0).all()
