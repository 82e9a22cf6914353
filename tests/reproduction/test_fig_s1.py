"""Fig. S.1: three routes at every level, each trained once; table, CSV and plot."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from denoisplit.cli.main import main
from denoisplit.commands import train_several as trainings
from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.evaluation.metrics import FrameAverage
from denoisplit.noise_models.storage import read_fitted
from denoisplit.reproduction.fig_s1 import FIG_S1
from denoisplit.reproduction.level_figure import LevelFigure, LevelScore
from denoisplit.run import load

TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32},
    "training": {"max_steps": 2, "batch": 2},
    "prediction": {"calibration_samples": 2, "error_map": False},
    "noise_model_fit": {"steps": 20, "components": 1},
    "n2v": {"filters": 4, "batch": 2, "masked": 0.03, "max_steps": 5},
    "synthetic_poisson": 2.0,
}


def psnr_of(
    level: float, route: str, structure: str, psnr: float | None, sem: float | None
) -> LevelScore:
    return LevelScore(level, route, structure, {"psnr": FrameAverage(psnr, sem)})


SCORES = [
    psnr_of(level, route, name, 30 - level + k + 0.1 * "ABC".index(route), 0.25 if k else None)
    for level in (1.0, 2.0)
    for route in "ABC"
    for k, name in enumerate(("ER", "MT"))
]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    pixels = np.rint(simulate("filaments", frames=4, size=64, seed=1)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "MT.tif", pixels, photometric="minisblack")
    return {"MT": [tmp_path / "MT.tif"]}


def test_every_route_is_trained_once_and_scored(
    files: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = FIG_S1.run(files, tmp_path / "s1", synthetic_gaussian=[0.5], **TINY)
    assert [score[:3] for score in scores] == [(0.5, route, "MT") for route in "ABC"]
    assert all((score.scores["psnr"].mean or 0) > 0 for score in scores)
    folders = [tmp_path / "s1" / f"route-{route}-level-0.5" for route in "ABC"]
    assert sorted(tmp_path.glob("s1/*")) == [
        tmp_path / "s1/S1.csv", tmp_path / "s1/S1.png", *folders
    ]  # fmt: skip
    sources = [load(run).noise_models()[0].about["source"] for run in folders]
    assert sources == [
        "simulated shots of known signals", "clean images and synthetic noise",
        "noisy images and their denoised form",
    ]  # fmt: skip
    # the first route is fitted to all integers of the training frames' range
    pairs = read_fitted(folders[0] / "noise_models", "MT").pairs
    held = load(folders[0]).config.facts.held_out["MT"]
    training = np.delete(
        tifffile.imread(files["MT"][0]), [*held["validation"], *held["test"]], axis=0
    )
    assert pairs is not None
    assert np.array_equal(np.unique(pairs.signal), np.arange(training.min(), training.max() + 1))

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*/route-*/**/*")}
    (tmp_path / "s1/S1.csv").unlink()
    again = FIG_S1.run(files, tmp_path / "s1", synthetic_gaussian=[0.5], **TINY)
    assert again == scores and (tmp_path / "s1/S1.csv").exists()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*/route-*/**/*")} == before
    with pytest.raises(InputError, match="route-A-level-0.5.*seed \\(0, not 1\\)"):
        FIG_S1.run(files, tmp_path / "s1", synthetic_gaussian=[0.5], **TINY, seed=1)


def test_interrupted_runs_are_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, tuple[bool, Any, Any]] = {}

    def recorded(structures: Any, run: Path, **options: Any) -> Any:
        calls[run.name] = options["resume"], options["noise_model_fit"], options["seed"]
        raise KeyboardInterrupt

    monkeypatch.setattr(trainings, "train", recorded)
    (tmp_path / "route-A-level-1.5").mkdir()
    for levels in ([1.5], [2.0]):
        with pytest.raises(KeyboardInterrupt):
            FIG_S1.run(
                {}, tmp_path, synthetic_gaussian=levels, seed=3, noise_model_fit={"steps": 9}
            )
    assert calls == {
        "route-A-level-1.5": (True, {"steps": 9, "route": "A"}, 3),
        "route-A-level-2": (False, {"steps": 9, "route": "A"}, 3),
    }


def test_the_table_has_a_row_per_structure_and_level() -> None:
    lines = FIG_S1.table(SCORES).splitlines()
    assert lines[0].split() == ["PSNR", "(dB)", "level", "route", "A", "route", "B", "route", "C"]
    assert [line.split() for line in lines[1:]] == [
        ["ER", "1", "29.00", "29.10", "29.20"],
        ["ER", "2", "28.00", "28.10", "28.20"],
        ["MT", "1", "30.00", "±", "0.25", "30.10", "±", "0.25", "30.20", "±", "0.25"],
        ["MT", "2", "29.00", "±", "0.25", "29.10", "±", "0.25", "29.20", "±", "0.25"],
    ]


def test_the_csv_holds_every_score() -> None:
    text = FIG_S1.csv([*SCORES, psnr_of(4.0, "C", "a, b", None, None)])
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 13
    assert rows[1] == {
        "level": "1.0",
        "route": "A",
        "structure": "MT",
        "psnr": "30.0",
        "sem": "0.25",
    }
    assert rows[-1]["structure"] == "a, b" and rows[-1]["psnr"] == ""


def test_the_figure_has_a_line_per_route_and_a_panel_per_structure() -> None:
    panels = FIG_S1.draw([*SCORES, psnr_of(4.0, "C", "MT", None, None)]).axes
    assert [axes.get_title("left") for axes in panels] == ["ER", "MT"]
    lines = [bars.lines[0].get_xydata() for bars in panels[0].containers]
    for k, line in enumerate(lines):
        np.testing.assert_allclose(line[:, 1], [29 + 0.1 * k, 28 + 0.1 * k])
        np.testing.assert_allclose(line[:, 0].round(1).round(), [1, 2])  # beside its level
    assert lines[0][0, 0] < lines[1][0, 0] < lines[2][0, 0]  # none behind another
    assert [text.get_text() for text in panels[0].get_xticklabels()] == ["1", "2", "4"]


def test_routes_of_one_level_are_drawn_side_by_side() -> None:
    panel = FIG_S1.draw([score for score in SCORES if score.level == 1.0]).axes[0]
    places = {float(bars.lines[0].get_xydata()[0, 0]) for bars in panel.containers}
    assert len(places) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["S1", "-o", "out"], "S1: there are no images to train on; provide --structure"),
        (["S1", "--structure", "MT", "none.tif"], "missing required option -o DIR"),
        (["S1", "-o", "out", "--structure", "MT", "none.tif"], "none.tif: no such file or folder"),
        (
            ["EQ", "-o", "out", "--structure", "MT", "none.tif"],
            "--structure: EQ needs two or more structures",
        ),
        (["S9", "-o", "out"], "error: unknown item S9; choose all, T1 to T9, S1, S2 or EQ"),
    ],
)
def test_bad_input_is_reported_in_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["reproduce", "-q", *words])
    except SystemExit as end:
        code = int(end.code or 0)
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and message in error
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_lists_the_trainings(
    files: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    words = ["--dry-run", "--synthetic-gaussian", "1", "2"]
    image = ["--structure", "MT", str(files["MT"][0]), "-o", str(tmp_path / "out"),
             "--structure", "ER", "none.tif"]  # fmt: skip
    for given, folders in (([], ("S1/T1", "S1/T2")), (["T5"], ("S1/T5",)), (image, (".",))):
        assert main(["reproduce", "S1", "EQ", *given, *words]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if "level-" in line]
        listed = [line for line in lines if "route-" in line]
        assert [line.partition(":")[0] for line in listed] == [
            str(Path(folder) / f"route-{route}-level-{level}")
            for folder in folders for level in (1, 2) for route in "ABC"
        ]  # fmt: skip
        assert all("noise models from" in line for line in listed)
        assert len([line for line in lines if "KL of Eq." in line]) == 2 * 2 * len(folders)
    assert list(tmp_path.iterdir()) == [files["MT"][0]]
    # the listed trainings are those that are trained
    trained: list[Path] = []

    def recorded(structures: Any, run: Path, **options: Any) -> None:
        trained.append(run)
        run.mkdir(parents=True)

    monkeypatch.setattr(trainings, "train", recorded)
    with pytest.raises(InputError, match="route-A-level-1"):  # no run was written
        FIG_S1.run(files, tmp_path / "out", synthetic_gaussian=[1.0, 2.0])
    assert trained == [(tmp_path / "out" / line.partition(":")[0]) for line in listed]


def test_the_command_passes_its_options_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options_used: dict[str, Any] = {}

    def recorded(_: LevelFigure, structures: Any, output: Any, **options: Any) -> list[LevelScore]:
        options_used.update(structures=structures, output=output, **options)
        return SCORES

    monkeypatch.setattr(LevelFigure, "run", recorded)
    words = ["--structure", "ER", "a.tif", "b.tif", "--synthetic-gaussian", "1", "1.5", "--seed",
             "4", "--preset", "small", "--max-steps", "9", "--synthetic-poisson", "2",
             "--jobs", "3"]  # fmt: skip
    assert main(["reproduce", "S1", *words, "-o", "out"]) == 0
    assert options_used == {
        "structures": {"ER": ["a.tif", "b.tif"]}, "output": Path("out"), "seed": 4, "max_steps": 9,
        "synthetic_gaussian": [1.0, 1.5], "synthetic_poisson": 2.0, "preset": "small",
        "jobs": 3,
    }  # fmt: skip
    assert capsys.readouterr().out == f"{FIG_S1.table(SCORES)}results: out\n"
