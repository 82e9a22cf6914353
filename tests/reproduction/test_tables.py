"""Tasks and tables of the paper, on small files in the published formats and names."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile

from denoisplit.cli import main as cli
from denoisplit.commands import train_several as trainings
from denoisplit.config.settings import settings_from
from denoisplit.config.training_options import settings_values
from denoisplit.data.splits import held_out_indices
from denoisplit.errors import InputError
from denoisplit.reproduction import fig_s2, tables
from denoisplit.reproduction.reproduce import reproduce
from denoisplit.reproduction.table_rows import (
    TableEntry,
    TaskRun,
    TrainingRecord,
    as_csv,
    as_markdown,
    from_csv,
    published,
    published_hours,
)
from denoisplit.reproduction.tables import hours_of, table_runs
from denoisplit.reproduction.tasks import TASKS, availability, images_of, missing, sigma_of
from denoisplit.run import load_config

from .conftest import PUBLISHED

TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "patch": 32},
    "training": {"max_steps": 2, "batch": 2},
    "prediction": {"calibration_samples": 2, "error_map": False},
    "noise_model_fit": {"steps": 20, "components": 1},
}
FRAMES = 20


def stack(seed: int, channels: int = 0, side: int = 64, frames: int = FRAMES) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (frames, channels, side, side) if channels else (frames, side, side)
    return rng.integers(100, 9000, shape).astype(np.uint16)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BioSR as MRC stacks, Hagen as TIFF stacks, PaviaATN as one hyperstack; F-actin is missing."""
    folder = tmp_path_factory.mktemp("downloads")
    for k, name in enumerate(("ER", "CCPs", "Microtubules")):
        (folder / name).mkdir()
        with mrcfile.new(folder / name / "GT_all.mrc") as mrc:
            mrc.set_data(stack(k))
    for k, name in enumerate(("actin", "mito")):
        for snr in ("high", "low"):
            path = folder / f"{name}-60x-noise2-{snr}snr.tif"
            tifffile.imwrite(path, stack(10 + k), photometric="minisblack")
    tifffile.imwrite(
        folder / "OptiMEM100x014.tif", stack(20, channels=4, frames=30), imagej=True,
        metadata={"axes": "TCYX"},
    )  # fmt: skip
    return folder


def test_tasks_that_a_folder_can_run(downloads: Path, capsys: Any) -> None:
    assert cli.main(["data", "check", str(downloads)]) in (0, None)
    printed = capsys.readouterr().out.splitlines()
    lines = dict(line.split(None, 1) for line in printed[: len(TASKS)])
    assert list(lines) == list(TASKS)
    doubtful = [line for line in printed if line.startswith("doubtful")]
    assert printed[len(TASKS) :] == doubtful and len(doubtful) == 3
    assert doubtful[0].startswith("doubtful  T5, T6: T5 and T6 are probably swapped")
    for name, line in lines.items():
        if name in ("T4", "T5", "T6"):
            assert "missing F-actin/GT_all_a.mrc (figshare 13264793" in line
        else:
            assert line.endswith("ready")
    assert all("missing" in line for line in availability(downloads / "ER").splitlines()[:9])
    with pytest.raises(InputError, match="no such folder"):
        availability(downloads / "nowhere")


def test_planes_of_one_file_become_structures(downloads: Path, tmp_path: Path) -> None:
    files = images_of(TASKS["T7"], downloads, tmp_path)
    original = tifffile.imread(downloads / "OptiMEM100x014.tif")
    for name, channel in (("actin", 2), ("tubulin", 3)):
        np.testing.assert_array_equal(tifffile.imread(files[name]), original[:, channel])
    with pytest.raises(InputError, match="F-actin/GT_all_a.mrc"):
        images_of(TASKS["T4"], downloads, tmp_path)
    assert missing(TASKS["T4"], downloads) == ["F-actin/GT_all_a.mrc"]


def test_threes_in_turn_as_in_the_paper() -> None:
    validation, test = held_out_indices(61, "threes")
    assert validation == [0, 1, 2, 6, 7, 8] and test == [3, 4, 5, 9, 10, 11]


def test_the_runs_are_the_rows_of_the_tables() -> None:
    known = published()
    rows = {run for run, _ in known}
    every = {
        TaskRun(name, system, f, level)
        for name, task in TASKS.items() for system in PUBLISHED
        for f in task.source.poisson for level in task.levels
    }  # fmt: skip
    # T8 has no result of HDN(+)muSplit
    assert rows <= every and {r.task for r in every - rows} <= {"T8"}
    assert known[TaskRun("T1", "musplit", 0, 1), "psnr"] == 30.3
    assert known[TaskRun("T9", "denoisplit", 0, 0), "ms_ssim"] == 0.887
    runs = table_runs(["T3", "T3"], ["denoisplit", "denoisplit"], [1000.0], [1.5])
    assert runs == [TaskRun("T3", "denoisplit", 1000, 1.5)]
    for bad in ((["T10"], ["denoisplit"]), (["T1"], ["hdn"])):
        with pytest.raises(InputError):
            table_runs(*bad, None, None)
    # rows without a published result are trained if they are asked for
    assert {run.system for run in table_runs(["T7"], None, None, None)} == set(PUBLISHED)
    assert "hdn_musplit" not in {run.system for run in table_runs(["T8"], None, None, None)}
    assert len(table_runs(["T8"], ["hdn_musplit"], None, None)) == 4
    with pytest.raises(InputError, match="no row"):
        table_runs(["T1"], ["denoisplit"], None, [3.0])


def test_a_dry_run_lists_the_trainings(downloads: Path, tmp_path: Path, capsys: Any) -> None:
    code = cli.main([
        "reproduce", "T1", "T9", "--dry-run", "--data", str(downloads), "-o", str(tmp_path / "out")
    ])  # fmt: skip
    out = capsys.readouterr().out
    assert code in (0, None) and not (tmp_path / "out").exists()
    assert out.count("T1/") == 4 * 2 * 4 and out.count("T9/") == 4
    assert "T9/hdn_musplit poisson-0 gaussian-0\n" in out
    assert "T1/denoisplit poisson-1000 gaussian-1.5" in out


def test_sigma_is_the_published_one_for_the_published_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Table S.3 for images with the std of the paper's, else a multiple of their own std."""
    monkeypatch.setattr(logging.getLogger("denoisplit"), "propagate", True)
    rng = np.random.default_rng(0)
    paths = []
    for k, std in enumerate((4450, 4450)):
        paths.append(tmp_path / f"{k}.tif")
        pixels = np.uint16(20000 + std * rng.standard_normal((3, 64, 64)))
        tifffile.imwrite(paths[-1], pixels, photometric="minisblack")
    assert [sigma_of(TASKS["T2"], level, paths) for level in (1, 1.5, 2, 4)] == [
        4450, 6675, 8900, 17800
    ]  # fmt: skip
    with caplog.at_level("WARNING", logger="denoisplit"):
        assert sigma_of(TASKS["T1"], 1, paths) is None  # 3400
    assert "of the published data 3400" in caplog.text
    assert sigma_of(TASKS["T9"], 0, paths) is None
    table = {"T1": 13600, "T3": 12600, "T4": 17800, "T5": 12200, "T6": 17200, "T7": 608, "T8": 1000}
    for name, highest in table.items():
        assert TASKS[name].sigma * 4 == highest


@pytest.mark.slow  # tests/reproduction/test_figure.py makes those of T2
def test_a_miniature_of_the_tables(downloads: Path, tmp_path: Path) -> None:
    """Three systems of T2, two at a time, and T9, whose truth is another file; a second call trains
    nothing.
    """
    options = {"data": downloads, "synthetic_gaussian": [1.0], "preset": "small", **TINY}
    small = {"filters": 4, "latents": 2, "levels": 2, "patch": 32}
    chain = {"denoiser": {"samples": 2, "network": small, "training": {"batch": 2}}}
    systems = ["altered_musplit", "musplit", "hdn_musplit"]
    text = reproduce(["T2"], tmp_path, systems=systems, jobs=2,
                     synthetic_poisson=[0.0], **options, **chain)  # fmt: skip
    numbers = text.partition("hours of training")[0]
    lines = [line.split(" | ") for line in numbers.splitlines() if line.startswith("| T2")]
    titles = {"Altered muSplit", "muSplit", "HDN(+)muSplit"}
    assert len(lines) == 6 and {line[1] for line in lines} == titles
    assert "is not computed" not in text
    with (tmp_path / "tables.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    known = published()
    for row in rows:
        key = TaskRun(row["task"], row["system"], float(row["poisson"]), float(row["level"]))
        assert float(row["published"]) == known[key, row["metric"]]
        if row["value"]:
            expected = float(row["value"]) - float(row["published"])
            assert float(row["difference"]) == pytest.approx(expected)
    run = tmp_path / "T2" / "musplit poisson-0 gaussian-1"
    settings = load_config(run).settings
    assert (settings.network.planes, settings.data.split) == (3, "truncated")
    assert settings.prediction.judged_cell == 64
    # other images than those of the paper
    assert settings.data.gaussian_sigma is None
    assert {float(row["sigma"]) for row in rows} == {load_config(run).facts.gaussian_sigma}
    assert {float(r["hours"]) for r in rows if r["system"] == "musplit"} == {hours_of(run)}
    before = (run / "model.safetensors").stat().st_mtime_ns

    text = reproduce(["T9", "T2"], tmp_path, systems=["musplit"], synthetic_poisson=[0.0],
                     **options)  # fmt: skip
    assert (run / "model.safetensors").stat().st_mtime_ns == before
    with (tmp_path / "tables.csv").open() as stream:
        assert rows == [row for row in csv.DictReader(stream) if row["task"] == "T2"]
    assert "| T9 | muSplit | 0 | 0 | psnr |" in text and "T5" not in text
    assert (tmp_path / "T9" / "musplit poisson-0 gaussian-0" / "against_truth.json").is_file()
    tested = tifffile.imread(tmp_path / "images" / "actin-60x-noise2-highsnr_test.ome.tif")
    whole = tifffile.imread(downloads / "actin-60x-noise2-highsnr.tif")
    np.testing.assert_array_equal(tested, whole[:2])


@pytest.mark.parametrize("item", ["S1", "EQ"])
def test_figures_of_tasks_have_the_noise_and_the_judged_pixels_of_the_tables(
    item: str, downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sigma of Table S.3 for the published data, whatever the std of the training frames is."""
    planned: list[Any] = []

    def recorded(structures: Any, run: Path, *, resume: bool = False, **options: Any) -> Any:
        settings = settings_from(settings_values(structures, None, None, None, options))
        planned.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(tables, "train", recorded)
    monkeypatch.setattr(trainings, "train", recorded)
    monkeypatch.setattr("denoisplit.reproduction.tasks.pooled_std", lambda _: 3300.0)
    for items in ([item, "T1"], ["T1"]):
        with pytest.raises(KeyboardInterrupt):
            reproduce(items, tmp_path, data=downloads, systems=["denoisplit"], preset="small",
                      synthetic_gaussian=[1.5])  # fmt: skip
    assert [s.prediction.judged_cell for s in planned] == [64, 64]
    assert planned[0].data.gaussian_sigma == planned[1].data.gaussian_sigma == 1.5 * 3400
    assert planned[0].data.split == planned[1].data.split == "truncated"


def test_denoisers_have_three_levels_where_the_noise_is_real(
    downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of T9, in the chain and for Fig. S.2; T8 has synthetic noise and the settings of BioSR."""
    planned: dict[str, Any] = {}

    def recorded(structures: Any, run: Path, *, resume: bool = False, **options: Any) -> Any:
        planned[run.relative_to(tmp_path).as_posix()] = settings_from(
            settings_values(structures, None, None, None, options)
        )
        raise KeyboardInterrupt

    monkeypatch.setattr(tables, "train", recorded)
    monkeypatch.setattr(trainings, "train", recorded)
    for preset in ("paper", "small"):
        for task in ("T8", "T9"):
            for items in (tables.train_table_runs, fig_s2.train_denoisers):
                runs = table_runs([task], ["hdn_musplit"], [0.0], [1.0])
                todo = runs if items is tables.train_table_runs else fig_s2.denoisers_of(runs)[:1]
                with pytest.raises(KeyboardInterrupt):
                    items(todo, downloads, tmp_path, preset=preset)
        if preset == "small":
            continue
        levels, limits, forms = {}, {}, {}
        for name, settings in planned.items():
            denoiser = settings.denoiser or settings
            levels[name], limits[name] = denoiser.network.levels, denoiser.network.log_variance_max
            forms[name] = denoiser.objective.closed_form
        hagen = "denoisers/Hagen et al 2021 actin poisson-0 gaussian-"
        chain = "hdn_musplit poisson-0 gaussian-"
        assert levels == {
            f"T8/{chain}1": 6, f"{hagen}1": 6, f"T9/{chain}0": 3, f"{hagen}0": 3
        }  # fmt: skip
        for name in planned:
            real = name.endswith("-0")
            assert (limits[name], forms[name]) == ((20.0, False) if real else (None, True))
    assert {s.prediction.judged_cell for s in planned.values()} == {64}
    # the preset small has 4
    assert {(s.denoiser or s).network.levels for s in planned.values()} == {4}


def test_doubts_are_reported(capsys: Any) -> None:
    run = TaskRun("T5", "denoisplit", 0.0, 1.0)
    entries = [TableEntry(run, "psnr", 30.0, 0.5, 27.7), TableEntry(run, "ms_ssim", None, None, 1)]
    text = as_markdown(entries)
    assert "| T5* | denoiSplit | 0 | 1 | psnr | 30.00 ± 0.50 | 27.70 | 2.30 |" in text
    assert "T5: T5 and T6 are probably swapped" in text and "MS-SSIM" in text and "| - |" in text
    notes = [row["note"] for row in csv.DictReader(as_csv(entries).splitlines())]
    assert all("probably swapped" in note for note in notes)
    assert ["does not say" in note for note in notes] == [False, True]
    sure = as_csv([TableEntry(run._replace(task="T1"), "psnr", 30.0, 0.5, 36.8)])
    assert next(csv.DictReader(sure.splitlines()))["note"] == ""
    assert cli.main(["reproduce", "T6", "T1", "--dry-run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "swapped" in line]
    assert len(lines) == 1 and lines[0].startswith("doubtful  T6: ")
    assert cli.main(["reproduce", "T1", "--dry-run"]) == 0
    assert "doubtful" not in capsys.readouterr().out


def test_the_ms_ssim_of_t9_is_no_target() -> None:
    run = TaskRun("T9", "denoisplit", 0.0, 0.0)
    entries = [
        TableEntry(run, "psnr", 30.0, None, 31.0),
        TableEntry(run, "ms_ssim", 0.8, None, 0.887),
    ]
    rows = list(csv.DictReader(as_csv(entries).splitlines()))
    assert [row["difference"] for row in rows] == ["-1.0", ""]
    assert "so no difference is given" in rows[1]["note"] and rows[1]["published"] == "0.887"
    text = as_markdown(entries)
    assert "| ms_ssim | 0.800 | 0.887† | - |" in text and "† the MS-SSIM of T9" in text
    assert "by gain and offset" in text and "31.00 | -1.00 |" in text
    other = as_markdown([TableEntry(TaskRun("T2", "musplit", 0, 1), "ms_ssim", 0.8, None, 0.7)])
    assert "†" not in other and "0.700 | 0.100 |" in other and "gain" not in other


def test_hours_of_training_stand_beside_the_published_ones(tmp_path: Path) -> None:
    """Hours of all networks of a chain; only the published ones if a run has not recorded them."""
    chain = tmp_path / "chain"
    for part, seconds in (("", 7200), ("denoisers/ER", 1800), ("denoisers/mixed", 1800)):
        (chain / part).mkdir(parents=True, exist_ok=True)
        (chain / part / "history.csv").write_text(f"epoch,step,seconds\n1,9,5.0\n2,18,{seconds}\n")
    assert hours_of(chain) == pytest.approx(3)
    (chain / "denoisers" / "ER" / "history.csv").write_text("epoch\n1\n")
    assert hours_of(chain) is None and hours_of(tmp_path) is None
    runs = [
        TaskRun("T2", system, 0, level) for system in ("hdn_musplit", "musplit") for level in (1, 2)
    ]
    runs.append(TaskRun("T9", "musplit", 0, 0))
    hours = [3.0, 4.5, None, None, 0.25]
    entries = [
        TableEntry(run, metric, 1.0, None, 1.0, TrainingRecord(1.0, taken, "small", 1600))
        for run, taken in zip(runs, hours, strict=True) for metric in ("psnr", "ms_ssim")
    ]  # fmt: skip
    table = as_markdown(entries).partition("hours of training")[2].splitlines()[2:5]
    assert table == [
        "| T2 | HDN(+)muSplit | small | 1600 | 3 to 4.5 | 10 |",
        "| T2 | muSplit | small | 1600 | - | 6.3 |", "| T9 | muSplit | small | 1600 | 0.25 | - |",
    ]  # fmt: skip
    assert "a preview, not a reproduction" in as_markdown(entries)
    as_published = [replace(s, training=s.training._replace(preset="paper")) for s in entries]
    assert "a preview, not a reproduction" not in as_markdown(as_published)
    assert from_csv(as_csv(entries), {(s.run, s.metric): 1.0 for s in entries}) == entries
    rows = list(csv.DictReader(as_csv(entries).splitlines()))
    assert [row["hours"] for row in rows[::2]] == ["3.0", "4.5", "", "", "0.25"]
    assert [row["published_hours"] for row in rows[::2]] == ["10.0", "10.0", "6.3", "6.3", ""]
    assert set(published_hours()) == {
        (name, system) for name in list(TASKS)[:6] for system in PUBLISHED
    }


def test_refusals(downloads: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder of downloads is not given; provide `data`"):
        reproduce(["T1"], tmp_path)
    with pytest.raises(
        InputError, match="S1: there are no images to train on; provide `structures`"
    ):
        reproduce(["S1"], tmp_path)
    with pytest.raises(InputError, match="found 2 factors, expected one for S1"):
        reproduce(["S1"], tmp_path, data=downloads, synthetic_poisson=[0.0, 4.0])
    for text in ("x,y\n1,2\n", "task,system,poisson,level,metric\nT1,musplit,much,1,psnr\n"):
        (tmp_path / "tables.csv").write_text(text)
        with pytest.raises(
            InputError, match="tables.csv: this file is no table of `denoisplit reproduce`"
        ):
            reproduce(["T1"], tmp_path, data=downloads, **TINY)
        assert (tmp_path / "tables.csv").read_text() == text
    with pytest.raises(InputError, match="F-actin"):
        reproduce(["T4"], tmp_path / "out", data=downloads, **TINY)
    assert not (tmp_path / "out" / "T4").exists()
