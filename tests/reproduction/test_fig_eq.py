"""Eq. 3 against Eq. 4: the input's noise that is left, measured and drawn."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.evaluation.metrics import FrameAverage, noise_left
from denoisplit.reproduction.fig_eq import FIG_EQ
from denoisplit.reproduction.level_figure import LevelScore
from denoisplit.run import load_config

TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32},
    "training": {"max_steps": 2, "batch": 2},
    "prediction": {"calibration_samples": 2, "error_map": False},
}
SCORES = [
    LevelScore(level, form, name, {
        "left": FrameAverage(0.1 * level + (form == "eq3"), 0.01),
        "psnr": FrameAverage(30 - level - (form == "eq3"), 0.5),
    })
    for level in (1.0, 2.0) for form in ("eq3", "eq4") for name in ("ER", "MT")
]  # fmt: skip


def test_both_forms_are_trained_once_and_measured(tmp_path: Path) -> None:
    files = {}
    for name, kind in (("ER", "mesh"), ("MT", "filaments")):
        pixels = np.float32(simulate(kind, frames=4, size=64, seed=1))
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="minisblack")
        files[name] = [tmp_path / f"{name}.tif"]
    out = tmp_path / "out"
    scores = FIG_EQ.run(files, out, synthetic_gaussian=[1.0], **TINY)
    assert [row[:3] for row in scores] == [
        (1.0, form, name) for form in ("eq3", "eq4") for name in ("ER", "MT")
    ]
    objectives = [load_config(out / f"{f}-level-1").settings.objective for f in ("eq3", "eq4")]
    assert [o.kl_form for o in objectives] == ["eq3", "eq4"]
    assert [o.free_bits for o in objectives] == [0, 1] and objectives[0].beta == 2
    left = [row.scores["left"].mean for row in scores]
    assert all(share is None or np.isfinite(share) for share in left)
    assert (out / "EQ.png").read_bytes()[:4] == b"\x89PNG"
    with (out / "EQ.csv").open() as stream:
        assert [row["form"] for row in csv.DictReader(stream)] == ["eq3", "eq3", "eq4", "eq4"]
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/model.safetensors")}
    assert FIG_EQ.run(files, out, synthetic_gaussian=[1.0], **TINY) == scores
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(InputError, match="above 0"):
        FIG_EQ.run(files, out, synthetic_gaussian=[0.0], **TINY)


def test_the_share_of_noise_is_a_slope() -> None:
    """For errors with none, a third or all of the noise, alone or with independent errors."""
    rng = np.random.default_rng(0)
    noise, independent = 3 * rng.standard_normal((2, 256, 256))
    for share in (0.0, 1 / 3, 1.0):
        assert noise_left(share * noise + 7, noise + 2) == pytest.approx(share, abs=1e-9)
        assert noise_left(share * noise + independent, noise) == pytest.approx(share, abs=0.02)
    assert noise_left(independent, np.zeros_like(independent)) is None


def test_the_figure_has_a_column_per_structure_and_a_line_per_form() -> None:
    panels = FIG_EQ.draw(SCORES).axes
    assert [axes.get_title("left") for axes in panels] == ["ER", "", "MT", ""]
    assert [axes.get_ylabel() for axes in panels] == ["noise left (%)", "PSNR (dB)", "", ""]
    assert panels[0].get_xlabel() == "" and "Gaussian" in panels[1].get_xlabel()
    assert [text.get_text() for text in panels[3].get_xticklabels()] == ["1", "2"]
    lines = [bars.lines[0].get_xydata().tolist() for bars in panels[0].containers]
    assert lines == [[[1, pytest.approx(110)], [2, pytest.approx(120)]],
                     [[1, pytest.approx(10)], [2, pytest.approx(20)]]]  # fmt: skip
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == ["Eq. 3", "Eq. 4"]


def test_the_table_and_the_csv_hold_every_number() -> None:
    lines = FIG_EQ.table(SCORES).splitlines()
    assert len(lines) == 5 and lines[1].split()[:6] == ["ER", "1", "110.0", "%", "10.0", "%"]
    unknown = LevelScore(
        4.0, "eq4", "MT", dict.fromkeys(("left", "psnr"), FrameAverage(None, None))
    )
    text = FIG_EQ.csv([*SCORES, unknown])
    assert text.startswith("level,form,structure,left,left_sem,psnr,psnr_sem\n")
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 9 and float(rows[0]["left"]) == 1.1 and rows[-1]["psnr"] == ""
