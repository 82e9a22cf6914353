"""The split benchmark on small simulated images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks.splits import images, methods
from benchmarks.splits.__main__ import main
from benchmarks.splits.methods import METHODS, Split
from benchmarks.splits.scores import scores_of, table_of
from denoisplit.prediction.frame import ErrorBars
from denoisplit.run import load

from ..jobs.conftest import with_error_map

PAIR = "er_actin"
RUN = Path(__file__).parents[1] / "kept/format_1/run"


def dry(out: Path, *options: str) -> None:
    main(["no-data", str(out), "--dry", "--pairs", PAIR, *options])


def test_every_method_is_scored_and_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calibrated = load(with_error_map(RUN, tmp_path / "mapped"))
    monkeypatch.setattr(methods, "train_run", lambda *_: calibrated)  # takes seconds
    dry(tmp_path, "--seeds", "0")
    text = capsys.readouterr().out
    assert text == (tmp_path / "table.md").read_text() + "\n"
    assert (tmp_path / "plot.png").stat().st_size > 1000
    cells = {path.stem: path for path in tmp_path.glob("small-2/*.json")}
    assert len(cells) == len(METHODS) and all(f"| {method} |" in text for method in METHODS)
    for path in cells.values():
        scores = json.loads(path.read_text())
        has_bars = "U-Net" not in path.stem
        for name in images.PAIRS[PAIR]:
            assert np.isfinite(scores[name]["psnr"])
            assert (scores[name]["ause"] is not None) == has_bars
        assert scores["seconds"]["training"] > 0

    # an interrupted table goes on: only the cell that is missing is run again
    before = {stem: path.stat().st_mtime_ns for stem, path in cells.items()}
    missing = cells.pop(f"{PAIR}-U-Net-noisy-targets-0")
    old = json.loads(missing.read_text())
    missing.unlink()
    dry(tmp_path, "--seeds", "0")
    assert all(path.stat().st_mtime_ns == before[stem] for stem, path in cells.items())
    new = json.loads(missing.read_text())
    assert {n: new[n] for n in images.PAIRS[PAIR]} == {n: old[n] for n in images.PAIRS[PAIR]}


@pytest.mark.slow
def test_dry_run_calibrates(tmp_path: Path) -> None:
    dry(tmp_path, "--methods", "denoiSplit", "--seeds", "1")
    scores = json.loads((tmp_path / f"small-2/{PAIR}-denoiSplit-1.json").read_text())
    assert 0 < scores["er"]["coverage"] <= 1


def test_each_cell_is_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of which none is started without images."""
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    with pytest.raises(SystemExit):
        main([str(tmp_path), str(tmp_path)])
    assert "has no folder nf1_cells/fields" in capsys.readouterr().err and not commands
    (tmp_path / images.FIELDS_FOLDER).mkdir(parents=True)
    with pytest.raises(SystemExit, match="no cell"):
        main([str(tmp_path), str(tmp_path), "--seeds", "0", "1", "--steps", "7"])
    assert len({tuple(command) for command in commands}) == 2 * len(METHODS) * 2
    assert all(command[command.index("--steps") + 1] == "7" for command in commands)


def test_fields_of_other_images_are_refused(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert images.tiles_of(data_dir, "er").shape == (36, *images.SIDES)
    monkeypatch.setattr(images, "FIELDS", ("B7", "D7", "D7"))
    with pytest.raises(SystemExit, match="not those of this benchmark"):
        images.tiles_of(data_dir, "er")


def test_scores_are_those_of_known_errors() -> None:
    rng = np.random.default_rng(0)
    truth = 100 * rng.random((3, 1, 64, 64)).astype(np.float32)
    std = np.exp(rng.standard_normal(truth.shape)).astype(np.float32)
    means = truth + std * rng.standard_normal(truth.shape).astype(np.float32)
    bars = [ErrorBars(m, s, np.float32(1.6449) * s) for m, s in zip(means, std, strict=True)]
    scores = scores_of(["a"], list(truth), Split(list(means), bars, 1.0, 2.0, 3.0))
    assert scores["a"]["coverage"] == pytest.approx(0.9, abs=0.01)
    worse = [bar._replace(std=1 / bar.std) for bar in bars]
    ranked = scores_of(["a"], list(truth), Split(list(means), worse, 1.0, 2.0, 3.0))
    assert 0 < scores["a"]["ause"] < 0.5 < ranked["a"]["ause"]
    peak, rms = np.ptp(truth, axis=(1, 2, 3)), np.sqrt(((means - truth) ** 2).mean(axis=(1, 2, 3)))
    assert scores["a"]["psnr"] == pytest.approx(float(20 * np.log10(peak / rms).mean()), abs=0.1)
    assert "| a | A | 2 | a | " in table_of({("a", "A", 0): scores, ("a", "A", 1): ranked})
