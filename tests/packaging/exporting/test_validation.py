"""Charts of the model card, which are text: the zoo shows no images of a card."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from denoisplit_zoo.exporting.validation import validation

from denoisplit.files.json_file import write_json
from denoisplit.run import METRICS

from ..conftest import metrics


def group(ratio: float | None, high: float, coverage: float | None, judged: bool) -> dict[str, Any]:
    size = {"value": ratio, "low": 0.0, "high": high}
    return {
        "intensity": 12.345, "share": 0.1, "judged": judged,
        "error_over_claimed": size, "coverage": coverage,
    }  # fmt: skip


def card(folder: Path, coverage: float | None) -> list[str]:
    groups = [group(1.1, 1.3, coverage, True), group(None, 2.0, coverage, False)]
    best = None if coverage is None else [1.0, 0.8, 0.625, 0.1]
    curves = {"removed": [0.0, 0.05, 0.1, 0.15], "error_map": [1.0, 0.9, 0.5, 0.4], "oracle": best}
    scores = {
        "estimated": coverage is None, "groups": groups, "sparsification": curves,
        "brightest": groups[0], "background": groups[1],
    }  # fmt: skip
    values = metrics(["ER"]) | {"error_bars": {"ER": {**BARS, **scores, "coverage": coverage}}}
    write_json(folder / METRICS, values)
    return validation(SimpleNamespace(path=folder)).splitlines()  # type: ignore[arg-type]


BARS = dict.fromkeys(
    ("mean_width", "interval_score", "ause", "ause_spread", "spearman", "spearman_spread")
) | {"error_over_claimed": {"value": 1.0, "low": 1.0, "high": 1.0}}


def test_charts_with_a_truth(tmp_path: Path) -> None:
    lines = card(tmp_path, 0.9)
    assert f"| 12.3 | {'█' * 11} 1.10 | {'█' * 9} 0.90 |" in lines
    assert f"| 12.3 (few pixels) | at most 2.00 | {'█' * 9} 0.90 |" in lines
    assert f"| 0% | {'█' * 10} 1.00 | 1.00 |" in lines
    assert f"| 10% | {'█' * 5} 0.50 | 0.62 |" in lines
    assert not any(line.startswith("| 5% |") for line in lines)


def test_charts_without_a_truth_are_of_the_size_of_error_bars_alone(tmp_path: Path) -> None:
    """Also of runs of earlier versions, which have stored an estimated curve."""
    lines = card(tmp_path, None)
    assert f"| 12.3 | {'█' * 11} 1.10 |" in lines
    assert not any(line.startswith("| 10% |") for line in lines)


@pytest.mark.parametrize("coverage", [0.9, None])
def test_every_table_has_rows_as_long_as_its_header(tmp_path: Path, coverage: float | None) -> None:
    """GitHub's Markdown, which the zoo uses, drops or adds cells otherwise."""
    tables = "\n".join(card(tmp_path, coverage)).split("\n\n")
    of_bars = [table.splitlines() for table in tables if table.startswith("|")]
    assert len(of_bars) == (2 if coverage is None else 3)
    for rows in of_bars:
        assert len({row.count("|") for row in rows}) == 1 and set(rows[1]) == set("|- ")
