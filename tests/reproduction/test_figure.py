"""Figures from finished runs: a miniature reproduction of T2 writes them all."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from PIL import Image

import denoisplit
from denoisplit.cli import main as cli
from denoisplit.data.prepare import prepare
from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import EvaluationFrames, held_out_frames
from denoisplit.evaluation.metrics import range_invariant_psnr
from denoisplit.files.json_file import read_json
from denoisplit.images import read_frames
from denoisplit.reproduction import figure as command
from denoisplit.reproduction import paper_figures
from denoisplit.reproduction.all_figures import finished_runs
from denoisplit.reproduction.drawing.paper_panels import PanelImages
from denoisplit.reproduction.fig_s2 import denoisers_of, splitting_runs_of_s2
from denoisplit.reproduction.figure import KINDS, figure
from denoisplit.reproduction.figure_inputs import FigureInput
from denoisplit.reproduction.reproduce import reproduce
from denoisplit.run import METRICS, load, load_config

from .conftest import PUBLISHED

TINY: dict[str, Any] = {
    "preset": "small",
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32},
    "training": {"max_steps": 2, "batch": 2},
    "prediction": {"calibration_samples": 4, "error_map": False},
    "noise_model_fit": {"steps": 20, "components": 1},
    "n2v": {"filters": 4, "batch": 2, "masked": 0.03, "max_steps": 5},
    "denoiser": {
        "samples": 2,
        "network": {"filters": 4, "latents": 2, "levels": 2, "patch": 32},
        "training": {"max_steps": 2, "batch": 2},
    },
    "synthetic_poisson": [0.0],
    "synthetic_gaussian": [1.0],
}
NOISE = "poisson-0 gaussian-1"
DRAWN = (
    "fig2.png", "fig3.png", "fig4.png", "calibration.png", "S3.png", "noise-model.png",
    "sampling.gif", "denoising.png",
)  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """T2 in miniature on files in the published format: tables, S.1 and S.2, and all figures."""
    folder = tmp_path_factory.mktemp("paper")
    # stacks of different length, as they are
    for name, kind, frames in (("ER", "mesh", 30), ("Microtubules", "filaments", 20)):
        (folder / "downloads" / name).mkdir(parents=True)
        with mrcfile.new(folder / "downloads" / name / "GT_all.mrc") as mrc:
            mrc.set_data(simulate(kind, frames=frames, size=64, seed=1).astype(np.uint16))
    output = folder / "out"
    text = reproduce(["T2", "S1", "S2"], output, data=folder / "downloads", **TINY)
    runs, denoisers = output / "T2", output / "denoisers"
    return SimpleNamespace(
        output=output, downloads=folder / "downloads", text=text,
        denoisplit=runs / f"denoisplit {NOISE}", musplit=runs / f"musplit {NOISE}",
        routes=[output / "S1" / "T2" / f"route-{route}-level-1" for route in "ABC"],
        chain=runs / f"hdn_musplit {NOISE}",
        er=denoisers / f"BioSR ER {NOISE}", mt=denoisers / f"BioSR MT {NOISE}",
    )  # fmt: skip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Figures that the command draws."""
    figures: list[Any] = []
    original = command.png

    def kept(made: Any) -> bytes:
        figures.append(made)
        return original(made)

    monkeypatch.setattr(command, "png", kept)
    return figures


def labels(made: Any) -> list[str]:
    return [axes.get_label() for axes in made.axes if axes.images and axes.get_label()[:1] != "<"]


def test_a_miniature_of_t2_writes_every_table_and_figure(done: SimpleNamespace) -> None:
    folder = done.output / "figures"
    assert {path.name for path in folder.iterdir()} == {f"T2_{name}" for name in DRAWN} | {"S2.png"}
    routes = done.output / "S1" / "T2" / "S1.png"
    for path in (*folder.iterdir(), routes):
        with Image.open(path) as image:
            assert image.format == path.suffix[1:].upper() and min(image.size) > 150
            assert np.asarray(image.convert("L")).std() > 5
    with Image.open(folder / "T2_sampling.gif") as gif:
        assert gif.n_frames == 4
    # nothing is missing
    listed = done.text.partition("Figures\n")[2].splitlines()
    assert sorted(listed) == sorted(f"- {path}" for path in (*folder.iterdir(), routes))
    # every row of the tables with this noise, and every point of Fig. S.1
    assert (done.output / "tables.md").read_text() in done.text
    with (done.output / "tables.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert sorted((row["system"], row["metric"]) for row in rows) == sorted(
        (system, metric) for system in PUBLISHED for metric in ("psnr", "ms_ssim")
    )
    assert all(float(row["value"]) > 0 for row in rows if row["metric"] == "psnr")
    with routes.with_suffix(".csv").open() as stream:
        points = [(row["route"], row["structure"]) for row in csv.DictReader(stream)]
    assert points == [(route, name) for route in "ABC" for name in ("ER", "MT")]


def test_figures_that_are_up_to_date_are_kept(done: SimpleNamespace) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.output.rglob("*") if p.parent.name != "T2"}
    (done.output / "figures" / "T2_fig3.png").unlink()
    reproduce(["T2"], done.output, data=done.downloads, **TINY)
    redrawn = [
        path.name for path in (done.output / "figures").iterdir()
        if path.stat().st_mtime_ns != before.get(path)
    ]  # fmt: skip
    assert redrawn == ["T2_fig3.png"]


def test_missing_runs_are_reported(done: SimpleNamespace, tmp_path: Path) -> None:
    options = {"data": done.downloads, **TINY}
    (tmp_path / "T2").mkdir()
    shutil.copytree(done.musplit, tmp_path / "T2" / done.musplit.name)
    text = reproduce(["T2"], tmp_path, systems=["musplit"], **options)
    lines = text.partition("Figures\n")[2].splitlines()
    assert len(lines) == 10 and all(": not drawn, needs " in line for line in lines)
    assert not (tmp_path / "figures").exists()


def test_denoisers_are_trained_once_for_all_tasks_and_noises(done: SimpleNamespace) -> None:
    runs = splitting_runs_of_s2([], None, None)
    assert {(run.task, run.poisson) for run in runs} == {(t, 1000.0) for t in ("T1", "T2", "T3")}
    names = [denoiser.name for denoiser in denoisers_of(runs)]
    assert len(names) == len(set(names)) == 3 * 4
    # none for a task without Poisson noise
    assert {run.poisson for run in splitting_runs_of_s2(["T7"], None, None)} == {0.0}
    trained = [path.name for path in finished_runs(done.output / "denoisers")]
    assert trained == [done.er.name, done.mt.name]
    assert load_config(done.er).settings.data.split == "truncated"


def test_every_kind(done: SimpleNamespace, tmp_path: Path, drawn: list[Any]) -> None:
    pair, alone = [done.musplit, done.denoisplit], [done.er, done.mt]
    runs = {
        "2": pair, "4": pair, "S1": done.routes, "S2": [*alone, done.denoisplit],
        "denoising": alone,
    }  # fmt: skip
    for kind in KINDS:
        target = tmp_path / f"figure-{kind}.{'gif' if kind == 'sampling' else 'png'}"
        made = figure(kind, runs.get(kind, done.denoisplit), target, samples=4)
        assert made == target and target.stat().st_size > 5000
    of = dict(zip([kind for kind in KINDS if kind != "sampling"], drawn, strict=True))
    assert labels(of["2"]) == [
        "ER: input",
        *(f"{n}: {t}" for n in ("ER", "MT")
          for t in ("noisy target", "muSplit", "denoiSplit", "high-SNR")),
    ]  # fmt: skip
    assert labels(of["4"]) == [
        "ER: input",
        *(f"{n}: {t}" for n in ("ER", "MT") for t in ("muSplit", "denoiSplit", "high-SNR")),
    ]  # fmt: skip
    assert "MT: MMSE (S = 4)" in labels(of["3"]) and "MT: difference" in labels(of["3"])
    panels = of["S3"].axes
    assert [axes.get_title("left") for axes in panels] == ["ER", "MT"]
    assert [line.get_label() for line in panels[0].lines] == ["identity", "S = 2"]
    assert len(of["calibration"].axes) == 1
    assert len([axes for axes in of["denoising"].axes if axes.images]) == 3 * 2 * 3
    titles = [axes.get_title("left") for axes in of["noise-model"].axes]
    assert titles[::3] == ["ER", "MT"]


def test_numbers_of_s2_are_those_of_the_runs(
    done: SimpleNamespace, tmp_path: Path, drawn: list[Any]
) -> None:
    figure("S2", [done.denoisplit, done.mt, done.er], tmp_path / "s2.png")
    panels = {axes.get_title("left"): axes for axes in drawn[0].axes}
    assert set(panels) == {"ER", "MT"}
    for name, alone in (("ER", done.er), ("MT", done.mt)):
        points = {
            bars.get_label(): bars.lines[0].get_xydata().tolist()
            for bars in panels[name].containers
        }
        expected = {}
        for label, run in (("HDN, alone", alone), ("denoiSplit, ER and MT", done.denoisplit)):
            psnr = read_json(run / METRICS)["structures"][name]["psnr"]["mean"]
            expected[label] = [[load_config(run).facts.gaussian_sigma, psnr]]
        assert points == expected
    with pytest.raises(InputError, match="two or more structures"):
        figure("S2", [done.er], tmp_path / "none.png")


def changed(run: Path, target: Path, old: str, new: str) -> Path:
    """Copy a run and change a line of its configuration."""
    shutil.copytree(run, target)
    text = (target / "config.yaml").read_text()
    assert old in text
    (target / "config.yaml").write_text(text.replace(old, new))
    return target


def test_numbers_of_s1_are_those_of_the_runs(
    done: SimpleNamespace, tmp_path: Path, drawn: list[Any]
) -> None:
    level = "synthetic_gaussian: 1.0"
    higher = changed(done.routes[2], tmp_path / "higher", level, "synthetic_gaussian: 2.0")
    metrics = read_json(higher / METRICS)
    metrics["structures"]["MT"]["psnr"] = {"mean": 7.5, "sem": 0.25}
    (higher / METRICS).write_text(json.dumps(metrics))
    a, _, c = done.routes
    figure("S1", [higher, a, c], tmp_path / "s1.png")
    panels = {axes.get_title("left"): axes for axes in drawn[0].axes}
    assert list(panels) == ["ER", "MT"]
    for name, axes in panels.items():
        psnr = [
            read_json(run / METRICS)["structures"][name]["psnr"]["mean"] for run in (a, c, higher)
        ]
        lines = {bars.get_label(): bars.lines[0].get_xydata() for bars in axes.containers}
        assert [label.partition(":")[0] for label in lines] == ["A", "C"]  # no route without runs
        of_a, of_c = lines.values()
        assert of_a[:, 1].tolist() == psnr[:1] and of_c[:, 1].tolist() == psnr[1:]
        assert of_a[:, 0].round(1).round().tolist() == [1]
        assert of_c[:, 0].round(1).round().tolist() == [1, 2]
        assert "level" in axes.get_xlabel()
    assert panels["ER"].get_ylabel() == "PSNR (dB)" and psnr[-1] == 7.5


def test_runs_that_s1_cannot_show_are_refused(
    done: SimpleNamespace, tmp_path: Path, capsys: Any
) -> None:
    a = done.routes[0]
    poisson = "synthetic_poisson: 0.0"
    sigma = f"gaussian_sigma: {load_config(a).facts.gaussian_sigma}"
    noiseless = changed(a, tmp_path / "noiseless", sigma, "gaussian_sigma: 0.0")
    busy = changed(a, tmp_path / "busy", poisson, "synthetic_poisson: 9.0")
    (tmp_path / "busy" / "config.yaml").write_text(
        (tmp_path / "busy" / "config.yaml").read_text().replace("route: A", "route: B")
    )
    image = f"--structure ER {done.downloads / 'ER' / 'GT_all.mrc'}".split()
    for words, message in (
        ([a, done.denoisplit], "noise models by route auto, expected a run of denoiSplit"),
        ([a, done.musplit], "found a run of muSplit"),
        ([noiseless], "found no synthetic noise"),
        ([a, done.routes[1], a], "route A at level 1 is already shown by"),
        ([a, busy], "busy: structures, images or Poisson noise differ from those of"),
        ([a, *image], "takes no images; leave out --structure and --truth"),
    ):  # fmt: skip
        target = tmp_path / "s1.png"
        code = cli.main(["figure", "S1", *map(str, words), "-o", str(target)])
        lines = capsys.readouterr().err.splitlines()
        assert code == 2 and len(lines) == 1 and message in lines[0], lines
        assert not target.exists()


def test_the_frames_are_those_of_the_runs_own_evaluation(done: SimpleNamespace) -> None:
    run = load(done.denoisplit)
    settings = run.config.settings
    data = prepare([read_frames(s.files).images for s in settings.structures], settings)
    expected = EvaluationFrames(
        data.clean.test, data.noise, data.superposition, seed=settings.seed, part="test"
    )
    frames = held_out_frames(run)
    assert len(frames) == len(expected) == 2 and frames.has_truth
    for name in ("truth", "observed", "inputs"):
        np.testing.assert_array_equal(getattr(frames, name), getattr(expected, name))


def test_frames_of_a_denoiser_are_those_of_its_chain(
    done: SimpleNamespace, tmp_path: Path, capsys: Any
) -> None:
    """The chain pairs stacks of different length and mixes frames, which the files do not show."""
    names = ("ER", "MT", "mixed")
    runs = {name: load(done.chain / "denoisers" / name) for name in names}
    er, mt, mixed = (held_out_frames(run) for run in runs.values())
    whole = held_out_frames(load(done.chain))
    assert len(er) == len(mt) == len(mixed) == len(whole) == 2 < len(held_out_frames(load(done.er)))
    for j in range(2):
        np.testing.assert_allclose(mixed.inputs[j], whole.inputs[j], rtol=1e-5)
        np.testing.assert_allclose(mixed.truth[j][0], whole.clean_inputs[j], rtol=1e-5)
        for k, scenes in enumerate((er, mt)):
            np.testing.assert_array_equal(scenes.truth[j][0], whole.truth[j][k])
            np.testing.assert_array_equal(scenes.observed[j][0], whole.observed[j][k])
    # a figure shows the PSNR that the run has measured
    for name, scenes in zip(names, (er, mt, mixed), strict=True):
        predictions = FigureInput(runs[name], scenes).predict_all(2, "predicting")
        psnr = [
            range_invariant_psnr(truth[0], prediction.mean[0])
            for truth, prediction in zip(scenes.truth, predictions, strict=True)
        ]
        measured = read_json(runs[name].path / METRICS)["structures"][name]["psnr"]["mean"]
        assert np.mean(psnr) == pytest.approx(measured, abs=1e-3)
    out = ["-o", str(tmp_path / "f.png"), "--samples", "2"]
    assert cli.main(["figure", "2", str(runs["mixed"].path), *out]) == 0
    (tmp_path / "f.png").unlink()
    capsys.readouterr()
    # taken out of the chain, a denoiser does not know them
    for name in ("ER", "mixed"):
        alone = shutil.copytree(runs[name].path, tmp_path / name)
        assert cli.main(["figure", "2", str(alone), *out]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "was moved out of its HDN(+)muSplit" in error
        assert "structure" in error and not (tmp_path / "f.png").exists()


def test_given_images_frame_and_crop(
    done: SimpleNamespace, tmp_path: Path, drawn: list[Any]
) -> None:
    files = {}
    for name, kind in (("ER", "mesh"), ("MT", "filaments")):
        files[name] = tmp_path / f"{name}.tif"
        stack = simulate(kind, frames=2, size=48, seed=9).astype(np.uint16)
        tifffile.imwrite(files[name], stack, photometric="minisblack")
    words = [w for n, f in files.items() for w in ("--structure", n, str(f))]
    code = cli.main([
        "figure", "4", str(done.musplit), str(done.denoisplit), "-o", str(tmp_path / "f.png"),
        "--frame", "1", "--crop", "8", "4", "32", "--samples", "2", *words,
    ])  # fmt: skip
    assert code == 0
    (shown,) = [axes for axes in drawn[0].axes if axes.get_label() == "MT: high-SNR"]
    expected = tifffile.imread(files["MT"])[1, 8:40, 4:36]
    np.testing.assert_array_equal(np.asarray(shown.images[0].get_array()), expected)
    # images with noise of their own, and their truth
    words += [w for n, f in files.items() for w in ("--truth", n, str(f))]
    out = str(tmp_path / "g.png")
    assert cli.main(["figure", "2", str(done.denoisplit), "-o", out, "--samples", "2", *words]) == 0
    assert "ER: high-SNR" in labels(drawn[1])


def test_samples_differ_and_are_not_mirror_images(
    done: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: dict[str, Any] = {}

    def kept(images: PanelImages, samples: Any) -> bytes:
        drawn.update(frame=images.input, samples=samples)
        return b"GIF"

    monkeypatch.setattr(paper_figures, "sampling_gif", kept)
    inputs = []
    for seed in (0, 0, 1, 2, 3):
        figure("sampling", done.denoisplit, tmp_path / "a.gif", samples=4, seed=seed)
        inputs.append(drawn["frame"])
    samples = drawn["samples"].astype(np.float64)
    assert samples.shape == (4, 2, 64, 64)
    spread = np.sqrt(samples.var(axis=0).mean())
    for i in range(3):  # an antithetic pair would nearly have the mean of all
        pair = samples[i : i + 2].mean(axis=0) - samples.mean(axis=0)
        assert np.sqrt(np.mean(pair**2)) > 0.2 * spread
    np.testing.assert_array_equal(inputs[0], inputs[1])
    assert any(not np.array_equal(inputs[0], other) for other in inputs[2:])  # a random frame


def test_bad_input_is_reported_in_one_line(
    done: SimpleNamespace, tmp_path: Path, capsys: Any
) -> None:
    run, other = str(done.denoisplit), tmp_path / "other"
    changed(done.denoisplit, other, "GT_all.mrc", "gone.mrc")
    poisson = "synthetic_poisson: 0.0", "synthetic_poisson: 9.0"
    noisier = changed(done.denoisplit, tmp_path / "noisier", *poisson)
    files = f"{done.downloads}/ER", f"{done.downloads}/Microtubules"
    replaced = changed(done.er, tmp_path / "replaced", *files)
    for words, message in (
        (["3", run, run], "2 runs, expected one run"),
        (["3", run, "--frame", "2"], "0 to 1"),
        (["3", run, "--crop", "40", "0", "32"], "a square inside the frame of 64 x 64 px"),
        (["3", run, "--samples", "1"], "at least 2"),
        (["sampling", run], "the file name of figure sampling must end with .gif"),
        (["2", run, str(done.er)], "choose runs of the same structures"),
        (["2", run, str(noisier)], "other images or other noise"),
        (["3", str(other)], "gone.mrc: this image of the run"),
        (["denoising", str(replaced)], "was trained on; restore it"),
        (["denoising", run], "a denoiser of one structure"),
        (["noise-model", str(done.musplit)], "a run of muSplit has no noise models"),
        (["3", run, "--truth", "ER", "a.tif"], "provide them as --structure"),
        (["3", str(tmp_path / "nothing")], "no such folder"),
    ):  # fmt: skip
        target = tmp_path / "out" / "f.png"
        code = cli.main(["figure", *words, "-o", str(target)])
        lines = capsys.readouterr().err.splitlines()
        assert code == 2 and message in lines[-1], (words, lines)
        assert sum("error" in line for line in lines) == 1
        assert not target.parent.exists()


def test_an_unknown_figure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind: found 5, expected one of 2, 3, 4, calibration"):
        figure("5", tmp_path, tmp_path / "f.png")


def test_the_function_is_public() -> None:
    assert denoisplit.figure is figure
