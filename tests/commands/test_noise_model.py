"""``denoisplit noise-model fit``: four kinds of images, output, messages, refusals."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from scipy.ndimage import gaussian_filter

import denoisplit
from denoisplit.cli.main import main
from denoisplit.noise2void import n2v
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models import from_noisy as noisy
from denoisplit.report.noise_plots import noise_figures
from denoisplit.report.style import png

Call = Callable[..., Any]

GAIN, READ = 3.0, 4.0  # grey levels per photon; std of the electronics
# of a denoiser that learns little, and at once
TINY = {"filters": 4, "batch": 4, "masked": 0.05, "max_steps": 30}
QUICK = {"steps": 200, "components": 1}


def put(folder: Path, **values: Any) -> Path:
    path = folder / "options.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def save(path: Path, pixels: np.ndarray) -> Path:
    tifffile.imwrite(path, pixels, photometric="minisblack")
    return path


def camera(clean: np.ndarray, shots: int, seed: int, dtype: str = "uint16") -> np.ndarray:
    """Shots (T, Y, X) of a scene: photons, electronics, rounding."""
    rng = np.random.default_rng(seed)
    light = GAIN * rng.poisson(clean / GAIN, (shots, *clean.shape))
    levels = np.rint(light + rng.normal(0, READ, light.shape))
    limits = np.iinfo(dtype)
    return np.clip(levels, limits.min, limits.max).astype(dtype)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smooth scene, clean, in shots, noisy in several fields; and what cannot be used."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    fields = [gaussian_filter(rng.normal(0, 1, (96, 96)), 4) for _ in range(3)]
    clean = [np.float32(60 + 500 * (f - f.min()) / np.ptp(f)) for f in fields]
    save(folder / "clean.tif", np.stack(clean))
    shots = camera(clean[0], 12, 1)
    save(folder / "shots.tif", shots)
    for number, shot in enumerate(shots):
        save(folder / f"shot{number}.tif", shot)
    save(folder / "noisy.tif", np.stack([camera(c, 1, 2 + k)[0] for k, c in enumerate(clean)]))
    save(folder / "saturated.tif", camera(clean[0] + 200, 12, 1, "uint8"))
    save(folder / "same.tif", np.stack([shots[0]] * 3))
    save(folder / "small.tif", shots[0, :12, :12])
    save(folder / "constant.tif", np.full((2, 32, 32), 7, np.uint8))
    blurred = [gaussian_filter(s.astype(np.float32), 1) for s in shots]
    save(folder / "blurred.tif", np.stack(blurred))
    tifffile.imwrite(folder / "rgb.tif", np.zeros((32, 32, 3), np.uint8), photometric="rgb")
    return folder


@pytest.fixture
def fit(works: Call, tmp_path: Path) -> Call:
    """The command with a quick fit, as JSON; its output."""

    def run(*arguments: object, output: str = "model.npz", **values: Any) -> dict[str, Any]:
        values = {"noise_model_fit": QUICK} | values
        answer = works("noise-model", "fit", "--config", put(tmp_path, **values), *arguments,
                       "-o", output, "--json", "-q")  # fmt: skip
        return json.loads(answer.out)

    return run


def std_at(path: str, signal: float) -> float:
    return float(GaussianMixture.load(path).variance(torch.tensor(signal)) ** 0.5)


# ---------------------------------------------------------------- routes


def routes(images: Path) -> dict[str, list[object]]:
    return {
        "repeats": ["--repeats", images / "shots.tif"],
        "clean": ["--clean", images / "clean.tif", "--synthetic-poisson", "3"],
        "noisy": ["--noisy", images / "noisy.tif"],
        "exposures": ["--signal", images / "clean.tif", "--observed", images / "noisy.tif"],
    }


@pytest.mark.parametrize("route", ["repeats", "clean", "exposures"])
def test_noise_of_a_camera_is_found(route: str, fit: Call, images: Path) -> None:
    fitted = fit(*routes(images)[route])
    read = 0.0 if route == "clean" else READ
    for signal in (150, 300):
        expected = (GAIN * signal + read**2) ** 0.5
        assert std_at("model.npz", signal) == pytest.approx(expected, rel=0.05)
    assert fitted["gain"] == pytest.approx(GAIN, rel=0.1)
    assert fitted["components"] == 1 and fitted["held_out"] > 1000
    assert {path.name for path in Path().iterdir()} == {"model.npz", "model.html"}


def test_noisy_images_alone(fit: Call, images: Path) -> None:
    fitted = fit(*routes(images)["noisy"], n2v=TINY, output="new/model.npz")
    assert {path.name for path in Path("new").iterdir()} == {"model.npz", "model.html"}
    assert (fitted["model"], fitted["page"]) == ("new/model.npz", "new/model.html")
    assert GaussianMixture.load("new/model.npz").about["source"] == fitted["source"]


def test_one_path_is_a_list_of_one(images: Path, tmp_path: Path) -> None:
    fits = [
        denoisplit.fit_noise_model(tmp_path / f"{k}.npz", repeats=given, noise_model_fit=QUICK)
        for k, given in enumerate((str(images / "shots.tif"), [images / "shots.tif"]))
    ]
    assert fits[0].path.read_bytes() == fits[1].path.read_bytes()


def test_shots_in_one_file_or_in_many(fit: Call, images: Path) -> None:
    fit("--repeats", images / "shots.tif", output="stack.npz")
    fit("--repeats", *(images / f"shot{n}.tif" for n in range(12)), output="files.npz")
    assert Path("stack.npz").read_bytes() == Path("files.npz").read_bytes()
    for n in range(2):  # of another scene
        tifffile.imwrite(f"other{n}.tif", tifffile.imread(images / f"shot{n}.tif")[::-1])
    both = fit("--repeats", images / "shots.tif", "other0.tif", "other1.tif", output="both.npz")
    alone = fit("--repeats", images / "shots.tif", output="alone.npz")
    count = [fitted["pairs"] + fitted["held_out"] for fitted in (both, alone)]
    assert count[0] - count[1] == 2 * 96 * 96


def test_noise_that_was_added_is_stored(fit: Call, images: Path) -> None:
    """The level counts in standard deviations of the clean images, as in a training."""
    fit("--clean", images / "clean.tif", "--synthetic-gaussian", "0.5", "--synthetic-poisson", "2")
    about = GaussianMixture.load("model.npz").about
    clean = tifffile.imread(images / "clean.tif")
    assert about["poisson_factor"] == 2
    assert about["gaussian_sigma"] == pytest.approx(0.5 * clean.std(), rel=1e-4)


def test_other_seed_other_noise(fit: Call, images: Path) -> None:
    line = routes(images)["clean"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(*line, "--seed", seed, output=f"{name}.npz")
    a, b, c = (Path(f"{name}.npz").read_bytes() for name in "abc")
    assert a == b != c


def test_number_of_gaussians(fit: Call, images: Path) -> None:
    fitted = fit(*routes(images)["repeats"], "--components", "3", noise_model_fit={"steps": 50})
    assert fitted["components"] == GaussianMixture.load("model.npz").components == 3


def test_as_a_function(images: Path, fit: Call) -> None:
    found = denoisplit.fit_noise_model(
        "call.npz", repeats=[images / "shots.tif"], noise_model_fit=QUICK
    )
    fitted = fit(*routes(images)["repeats"])
    assert Path("call.npz").read_bytes() == Path("model.npz").read_bytes()
    same = found.as_dict() | {"model": "model.npz", "page": "model.html"}
    assert json.loads(json.dumps(same)) == fitted


# ---------------------------------------------------------------- messages


def test_verdict_and_files(works: Call, images: Path, tmp_path: Path) -> None:
    options = put(
        tmp_path, noise_model_fit=QUICK, repeats=str(images / "shots.tif"), output="m.npz"
    )
    answer = works("noise-model", "fit", "--config", options)
    *verdict, model, page = answer.out.splitlines()
    assert verdict and all(line.endswith(".") for line in verdict)
    assert (model, page) == ("noise model: m.npz", "page: m.html")
    assert "noise model" in answer.err and "100/100" in answer.err
    assert verdict[0] in Path("m.html").read_text(encoding="utf-8")


def test_correlated_noise_is_warned_of(works: Call, images: Path, tmp_path: Path) -> None:
    options = put(tmp_path, noise_model_fit=QUICK)
    line = ["noise-model", "fit", "-q", "--config", options, "--repeats"]
    assert works(*line, images / "shots.tif", "-o", "a.npz").err == ""
    warned = works(*line, images / "blurred.tif", "-o", "b.npz").err
    assert "neighbouring noise values correlate" in warned and warned.count("\n") == 1


# ---------------------------------------------------------------- interruption


class _Interrupted:
    """The training of the denoiser, ended by Ctrl-C after some steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, *arguments: Any, on_step: Callable[[int, int], None], **more: Any) -> Any:
        def interrupted(done: int, total: int) -> None:
            on_step(done, total)
            if done == self.after:
                raise KeyboardInterrupt

        return n2v.train_n2v(*arguments, on_step=interrupted, **more)


def test_an_interrupted_training_is_resumed(
    fit: Call, call: Call, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(*routes(images)["noisy"], n2v=TINY, output="whole.npz")
    monkeypatch.setattr(n2v, "CHECKPOINT_EVERY", 10)
    options = put(tmp_path, noise_model_fit=QUICK, n2v=TINY)
    line = ["noise-model", "fit", *routes(images)["noisy"], "-o", "model.npz"]
    with monkeypatch.context() as broken:
        broken.setattr(noisy, "train_n2v", _Interrupted(after=25))
        answer = call(*line, "--config", options)
    assert answer.code == 130
    assert answer.err.endswith("denoisplit noise-model fit: interrupted\n")
    assert "the same command will resume from here" in answer.err
    assert {path.name for path in Path().glob("model*")} == {"model.n2v.ckpt"}
    steps = []
    with monkeypatch.context() as watched:
        watched.setattr(noisy, "train_n2v", lambda *a, on_step, **more: n2v.train_n2v(
            *a, on_step=lambda done, total: steps.append(done), **more
        ))  # fmt: skip
        fit(*routes(images)["noisy"], n2v=TINY)
    assert steps[0] == 21
    assert Path("model.npz").read_bytes() == Path("whole.npz").read_bytes()
    assert {path.name for path in Path().glob("model*")} == {"model.npz", "model.html"}


def test_a_checkpoint_of_other_images_is_not_resumed(
    refused: Call, images: Path, tmp_path: Path
) -> None:
    """It is somebody's work, so it stays."""
    frames = tifffile.imread(images / "noisy.tif")[:1]
    settings = denoisplit.config.groups.N2VSettings(**TINY)
    n2v.train_n2v(list(frames), settings, seed=0, checkpoint=Path("model.n2v.ckpt"))
    options = put(tmp_path, noise_model_fit=QUICK, n2v=TINY)
    refused("noise-model", "fit", "-q", "--config", options, *routes(images)["noisy"],
            "-o", "model.npz",
            says=("model.n2v.ckpt", "belongs to a training with other", "remove it"))  # fmt: skip


def test_a_full_disk_leaves_neither_file(
    call: Call, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model would have room, its page with all figures has not."""
    monkeypatch.setattr("denoisplit.report.html.png", png)
    monkeypatch.setattr("denoisplit.report.noise_page.noise_figures", noise_figures)
    options = put(tmp_path, noise_model_fit=QUICK)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        answer = call("noise-model", "fit", "-q", "--config", options,
                      *routes(images)["repeats"], "-o", "model.npz")  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert "model.html" in answer.err and "check disk space" in answer.err
    assert list(Path().iterdir()) == []


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], ("no images", "--repeats", "--signal with --observed")),
        (["--repeats", "shots.tif", "--noisy", "noisy.tif"], ("--repeats and --noisy", "one kind")),
        (["--signal", "clean.tif"], ("--signal", "--signal with --observed")),
        (["--observed", "noisy.tif"], ("--observed", "--signal with --observed")),
        (["--repeats", "none.tif"], ("none.tif", "no such file")),
        (["--repeats", "rgb.tif"], ("rgb.tif", "colour (RGB)")),
        (["--noisy", "constant.tif"], ("constant.tif[0]", "have the value 7; leave")),
        (["--repeats", "shot0.tif"], ("shot0.tif", "only one shot", "a stack of shots")),
        (["--repeats", "shots.tif", "shot0.tif"], ("shot0.tif", "only one shot")),
        (["--repeats", "shot0.tif", "small.tif"], ("small.tif", "12 x 12 px", "shot0.tif")),
        (["--repeats", "shot0.tif", "shot0.tif"], ("shot0.tif", "named twice")),
        (["--repeats", "same.tif"], ("same.tif", "equal their signals", "noise")),
        (["--repeats", "saturated.tif"], ("saturated.tif", "saturated", "shorter exposures")),
        (["--noisy", "small.tif"], ("small.tif", "12 x 12 px", "at least 16 x 16 px")),
        (["--clean", "clean.tif"], ("clean.tif", "no noise to add", "--synthetic-poisson")),
        (["--clean", "clean.tif", "--synthetic-gaussian", "-1"], ("clean.tif", "Gaussian sigma")),
        (["--clean", "clean.tif", "--synthetic-poisson", "nan"], ("clean.tif", "factor is nan")),
        (["--repeats", "shots.tif", "--synthetic-poisson", "1"], ("is used with --clean only",)),
        (["--repeats", "shots.tif", "--preset", "small"], ("--preset is used with --noisy only",)),
        (["--signal", "noisy.tif", "--observed", "clean.tif"], ("noisy.tif", "swapped")),
        (["--signal", "clean.tif", "--observed", "shots.tif"], ("12 frames", "3", "shots.tif")),
        (["--repeats", "shots.tif", "--components", "0"], ("components = 0", "greater than 0")),
        (["--repeats", "shots.tif", "--components", "x"], ("--components", "'x'")),
        (["--repeats", "shots.tif", "--seed", "-1"], ("--seed", "-1")),
    ],
    ids=lambda words: " ".join(words),
)  # fmt: skip
def test_what_it_cannot_be_fitted_to(
    arguments: list[str], says: tuple[str, ...], refused: Call, images: Path
) -> None:
    line = [images / word if word.endswith(".tif") else word for word in arguments]
    refused("noise-model", "fit", *line, "-o", "new/model.npz", says=says)


def test_outputs(refused: Call, images: Path) -> None:
    line = ["noise-model", "fit", *routes(images)["repeats"]]
    refused(*line, says=("missing required option -o MODEL.npz",))
    refused(*line, "-o", "model", says=("model", "''", ".npz", "rename the output"))
    refused(*line, "-o", "model.tif", says=("'.tif'", ".npz"))
    for name in ("model.npz", "model.html"):
        Path(name).write_text("mine")
        refused(*line, "-o", "model.npz", says=(name, "this output exists already"))
        Path(name).unlink()
    inside = images / "clean.tif" / "model.npz"
    options = put(images, noise_model_fit=QUICK)
    refused(
        *line,
        "-q",
        "--config",
        options,
        "-o",
        inside,
        says=(inside.parent, "cannot write this file"),
    )


def test_yaml(refused: Call, images: Path, tmp_path: Path) -> None:
    for values, says in (
        ({"banana": 1}, ("unknown key banana", "noise_model_fit")),
        ({"preset": "large"}, ("preset = 'large'",)),
        ({"n2v": {"filter": 3}}, ("unknown key n2v.filter",)),
        ({"repeats": 3}, ("repeats = 3",)),
    ):
        path = put(tmp_path, **values)
        refused("noise-model", "fit", "--config", path, "--noisy", images / "noisy.tif",
                "-o", "model.npz", says=says)  # fmt: skip


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ([], ("'noise-model'", "noise-model fit")),
        (["train"], ("'noise-model train'", "noise-model fit")),
        (["fit"], ("-o MODEL.npz",)),
    ],
)
def test_incomplete_lines(line: list[str], says: tuple[str, ...], refused: Call) -> None:
    refused("noise-model", *line, says=says)


def test_help_names_every_kind_of_images(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["noise-model", "fit", "--help"])
    said = capsys.readouterr().out
    for option in ("--repeats", "--clean", "--noisy", "--signal", "--observed", "--config"):
        assert f"{option} F" in said
