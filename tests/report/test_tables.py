"""Cells and columns of the tables of metrics."""

from __future__ import annotations

from typing import Any

import pytest

from denoisplit.report.tables import (
    LEGEND,
    ROWS,
    cell,
    lacks_truth,
    legend,
    mean_column,
    metrics_columns,
    metrics_table,
    reference_text,
    table_rows,
)

NOTHING = {"value": None, "low": None, "high": None}


def score(mean: float) -> dict[str, float | None]:
    return {"mean": mean, "sem": 0.5}


def span(value: float | None, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def metrics(**more: Any) -> dict[str, Any]:
    structures = {
        "ER": {"psnr": score(20.0), "psnr_estimated": span(26.4, 25.9, 26.9)},
        "MT": {"psnr": score(22.0), "psnr_estimated": span(None, 30.1, None)},
    }
    return {"structures": structures, "mean": {"psnr": score(21.0)}, **more}


@pytest.mark.parametrize(
    ("value", "key", "text"),
    [
        (score(20.0), "psnr", "20.00 ± 0.50"),
        ({"mean": None, "sem": None}, "psnr", "-"),
        (span(26.44, 25.9, 26.9), "psnr_estimated", "26.4 dB (25.9 to 26.9)"),
        (span(None, 30.12, None), "psnr_estimated", "above 30.1 dB"),
        (NOTHING, "psnr_estimated", "-"),
        (span(1.2, 1.0, 1.41), "error_over_claimed", "1.20 (1.00 to 1.41)"),
        (span(None, 0.0, 0.9), "error_over_claimed", "below 0.90"),
        (NOTHING, "error_over_claimed", "-"),
        (0.897, "coverage", "89.7 %"),
        (0.1634, "ause", "0.163"),
        (None, "ause", "-"),
        (1.0, "error_over_claimed", "1.00"),
        (1234.5, "mean_width", "1234"),
        (-0.00123, "mean_width", "-0.00123"),
    ],
)
def test_cells(value: Any, key: str, text: str) -> None:
    assert cell(value, key) == text


def test_a_mean_of_bounds_is_a_bound() -> None:
    assert mean_column(metrics())["psnr_estimated"] == span(None, 28.0, None)


@pytest.mark.parametrize(("estimated", "ratio"), [(True, "1.25 (0.90 to 1.50)"), (False, "1.25")])
def test_columns_have_the_scores_of_error_bars(estimated: bool, ratio: str) -> None:
    bars = {
        name: dict.fromkeys(ROWS, None)
        | {"ause": ause, "error_over_claimed": span(1.25, 0.9, 1.5), "estimated": estimated}
        for name, ause in (("ER", 0.2), ("MT", 0.4))
    }
    columns = metrics_columns(metrics(error_bars=bars))
    rows = dict(table_rows(columns))
    assert rows["AUSE of the error bar"] == ["0.200", "0.400", "0.300"]
    assert rows["error over error bar"] == [ratio] * 3
    assert "coverage of the 90 % interval" not in rows
    # comparisons with a truth stay what they are
    assert rows["PSNR (dB)"] == ["20.00 ± 0.50", "22.00 ± 0.50", "21.00 ± 0.50"]


def test_no_row_is_all_dashes_nor_indented_below_another_row() -> None:
    blurred = {"psnr_estimated": NOTHING, "psnr_estimated_blur": span(20.0, 19.0, 21.0)}
    rows = table_rows({"ER": dict.fromkeys(ROWS) | blurred | {"mean_width": 3.0}})
    assert rows == [
        ("PSNR, estimated without truth", ["-"]),
        ("  of the best blurred input", ["20.0 dB (19.0 to 21.0)"]),
        ("mean width of the 90 % interval", ["3.00"]),
    ]
    assert table_rows({"ER": dict.fromkeys(ROWS)}) == []


def test_only_shown_rows_are_explained() -> None:
    assert legend({"ER": {"psnr": score(20.0), "ause": None}}) == LEGEND["psnr"]
    assert legend(metrics_columns(metrics(reference="the recorded, noisy images"))) == ""
    assert set(LEGEND) <= set(ROWS)


def test_a_row_that_some_columns_have_is_shown() -> None:
    rows = dict(
        table_rows({"new": {"ause": 0.25, "psnr": score(1.0)}, "old": {"psnr": score(2.0)}})
    )
    assert rows["AUSE of the error bar"] == ["0.250", "-"]
    assert "MS-SSIM" not in rows


@pytest.mark.parametrize(("samples", "few"), [(2, True), (8, False)])
def test_a_spread_of_few_samples_is_not_to_be_judged(samples: int, few: bool) -> None:
    table = metrics_table(metrics(frames=3, samples=samples))
    assert ("too few to judge their spread" in table) == few


def test_comparisons_with_noisy_images_have_no_value() -> None:
    """Runs of earlier versions have stored some."""
    noisy = metrics(reference="the recorded, noisy images")
    assert lacks_truth(noisy) and not lacks_truth(metrics(reference="noise-free"))
    rows = dict(table_rows(metrics_columns(noisy)))
    assert "PSNR (dB)" not in rows
    assert rows["PSNR, estimated without truth"][0] == "26.4 dB (25.9 to 26.9)"
    assert mean_column(noisy)["psnr"]["mean"] is None
    assert "noisy" not in reference_text(noisy)
    assert reference_text(metrics(reference="noise-free")) == "compared with: noise-free"
