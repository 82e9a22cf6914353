"""Bad runs, noise models, numbers and YAML: one line each, and nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml

from denoisplit.noise_models import GaussianMixture
from tests.commands.conftest import NOISE, TINY

Call = Callable[..., Any]
COMMANDS = ("train", "predict", "evaluate", "superpose")


# ---------------------------------------------------------------- runs


def test_folders_that_are_no_run(
    refused: Call, bench: Any, bad: Path, tmp_path: Path, run_folder: Path
) -> None:
    both = bench.structures("ER", "MT")
    for folder, found in (
        (bad, "this folder holds no config.yaml"),
        (tmp_path / "nowhere", "no such folder"),
    ):
        for line in (
            ["predict", folder, bench.image("ER"), "-o", "out"],
            ["evaluate", folder, *both],
            ["superpose", *both, "--run", folder, "-o", "mixed.tif"],
            ["train", "-o", folder, "--resume"],
        ):
            refused(*line, says=(folder, found, "name the run folder of a training"))


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("model.safetensors", b"", ("the weights are not readable", "copy the run again")),
        ("model.safetensors", None, ("not trained yet: model.safetensors is missing", "--resume")),
        ("calibration.json", b"{", ("this is not valid JSON", "copy the file again")),
        (
            "calibration.json",
            b'{"scalars": {"ER": "x", "MT": 1}}',
            ("the calibration scalar 'x' of ER is not a positive number", "copy"),
        ),
        (
            "calibration.json",
            b'{"scalars": {"ER": -1, "MT": 1}}',
            ("the calibration scalar -1 of ER is not a positive number", "copy"),
        ),
        ("calibration.json", b'{"scalars": {"ER": NaN, "MT": 1}}', ("NaN is not finite", "copy")),
        ("calibration.json", b"[" * 100_000, ("nested", "copy")),
        (
            "calibration.json",
            b'{"scalars": {"ER": 1%s, "MT": 1}}' % (b"0" * 400),
            ("10000000... of 401 characters", "copy"),
        ),
        (
            "calibration.json",
            b'{"scalars": {"ER": 1, "MT": 1}, "halo_errors": {"42": 0}}',
            ("halo_errors", "multiples of 4 px", "copy"),
        ),
        (
            "calibration.json",
            b'{"scalars": {"ER": 1, "MT": 1}, "halo_errors": [48]}',
            ("halo_errors", "copy"),
        ),
        ("calibration.json", None, ("not calibrated yet: calibration.json is missing", "--resume")),
        ("config.yaml", b"", ("config.yaml", "a YAML mapping")),
        ("config.yaml", b"format_version: 99", ("format version 99 is unknown", "release")),
        ("config.yaml", b"format_version: 1", ("config.yaml", "settings")),
    ],
)
def test_damaged_runs(
    file: str, content: bytes | None, says: tuple[str, ...], refused: Call, bench: Any,
    run_folder: Path,
) -> None:  # fmt: skip
    run = shutil.copytree(run_folder, "damaged")
    Path(run, file).unlink()
    if content is not None:
        Path(run, file).write_bytes(content)
    both = bench.structures("ER", "MT")
    for line in (
        ["predict", run, bench.image("ER"), "-o", "out"],
        ["evaluate", run, *both, "--json"],
        ["superpose", *both, "--run", run, "-o", "mixed.tif"],
    ):
        refused(*line, says=("damaged", *says))


def test_structures_that_are_not_those_of_the_run(
    refused: Call, bench: Any, run_folder: Path
) -> None:
    for names in (("ER",), ("ER", "CCP"), ("ER", "MT", "CCP")):
        refused("evaluate", run_folder, *bench.structures(*names),
                says=("--structure", ", ".join(names), "those of the run: ER, MT"))  # fmt: skip
        refused("superpose", *bench.structures(*names), "--run", run_folder, "-o", "mixed.tif",
                says=(run_folder, "ER, MT"))  # fmt: skip
    both = bench.structures("ER", "MT")
    refused("superpose", *both, "--run", run_folder, "-o", "a.tif", "--superposition", "mean",
            says=("the sum of ER, MT", "leave --superposition out"))  # fmt: skip
    refused("superpose", *both, "--run", run_folder, "-o", "a.tif", "--offset", "ER", "3",
            says=("--offset", "the offsets are those of the run", "leave them out"))  # fmt: skip


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--max-steps", "9"], ("training.max_steps (", ", not 9)")),
        (["--seed", "9"], ("seed (0, not 9)",)),
        (["--superposition", "mean"], ("data.superposition (sum, not mean)",)),
        (["--offset", "MT", "3"], ("started with other settings: structures",)),
        (["--beta", "2"], ("objective.beta (", ", not 2.0)")),
    ],
)
def test_resuming_with_other_settings(
    options: list[str], says: tuple[str, ...], refused: Call, bench: Any, run_folder: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    config = bench.yaml(tmp_path, **TINY, **NOISE)
    refused("train", "--config", config, *bench.structures("ER", "MT"),
            "-o", run_folder, "--resume", *options,
            says=(run_folder, *says, "leave all settings out"))  # fmt: skip


def test_resuming_with_other_images(
    refused: Call, bench: Any, run_folder: Path, tmp_path: Path
) -> None:
    config = bench.yaml(tmp_path, **TINY, **NOISE)
    refused("train", "--config", config, "-o", run_folder, "--resume",
            *bench.structures("ER"), "--structure", "MT", bench.image("CCP"),
            says=("CCP.tif is not the image", "MT.tif", "restore the images"))  # fmt: skip
    another = Path(shutil.copy(bench.image("CCP"), tmp_path / "Z.tif"))  # the last in their order
    refused("train", "--config", config, "-o", run_folder, "--resume", *bench.structures("ER"),
            "--structure", "MT", bench.image("MT"), another,
            says=("2 files of structure MT", "1 as before"))  # fmt: skip
    # those of the run itself are gone
    refused("train", "-o", run_folder, "--resume", says=("ER.tif", "no such file"))


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("checkpoints/last.ckpt", "this checkpoint is unreadable"),
        ("noise_models/ER.npz", "this is not a readable npz archive"),
    ],
)
def test_resuming_from_damaged_files(
    file: str, problem: str, refused: Call, bench: Any, run_folder: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(run_folder, "damaged"))
    (run / "model.safetensors").unlink()
    (run / "calibration.json").unlink()
    (run / file).write_bytes((run / file).read_bytes()[:1000])
    config = bench.yaml(tmp_path, **TINY, **NOISE)
    refused("train", "--config", config, *bench.structures("ER", "MT"),
            "-o", run, "--resume", says=(file, problem))  # fmt: skip


# ---------------------------------------------------------------- noise models


def test_noisy_images_that_no_denoiser_learns_from(
    refused: Call, bench: Any, tmp_path: Path
) -> None:
    """Before the run folder is made."""
    dark = np.zeros((4, 64, 64), np.uint8)
    # frames 0 and 2 validate and test
    dark[::2] = np.random.default_rng(0).poisson(3, (2, 64, 64))
    dark[1::2] = 255
    dark[1, 0, 0] = dark[3, 0, 1] = 254  # equal frames are refused
    tifffile.imwrite(tmp_path / "dark.tif", dark, photometric="minisblack")
    refused("train", "-o", "run", "--config", bench.yaml(tmp_path), "--structure", "A",
            tmp_path / "dark.tif",
            says=("structure A", "every pixel has the value 254"))  # fmt: skip


def test_repeats_that_do_not_serve(refused: Call, bench: Any, bad: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scene = rng.uniform(20, 90, (1, 40, 40))
    noise = rng.normal(0, 5, (9, 40, 40))
    for name, shots in (
        ("one", scene),
        ("same", np.repeat(scene, 3, axis=0)),
        ("good", scene + noise),
        ("bright", 100 * scene + noise),
    ):
        pixels = shots.astype(np.float32)
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="minisblack")
    start = ["train", "-q", "--config", bench.yaml(tmp_path), *bench.structures("MT"), "-o", "run"]
    given = [*start, "--repeats", "MT"]
    refused(*given, tmp_path / "one.tif", says=("one.tif", "only one shot"))
    refused(*given, tmp_path / "same.tif", says=("--repeats MT", "equal their signals"))
    refused(*given, tmp_path / "bright.tif",
            says=("--repeats MT", "the noise model covers signals", "the data range"))  # fmt: skip
    refused(*given, bad / "rgb.tif", says=("rgb.tif", "RGB"))
    refused(*given, tmp_path / "good.tif", bench.image("CCP"), tmp_path / "no.tif",
            says=("no.tif", "no such file"))  # fmt: skip
    refused(*given, says=("--repeats MT", "no files"))
    refused(*start, "--repeats", "Golgi", tmp_path / "good.tif", says=("Golgi", "one of MT"))
    refused(*given, tmp_path / "good.tif", "--synthetic-poisson", "2",
            says=("--repeats MT", "synthetic noise is added too"))  # fmt: skip
    refused(*given, tmp_path / "good.tif", "--noise-model", "MT", "mt.npz",
            says=("--repeats MT", "--noise-model", "leave one of the two out"))  # fmt: skip
    refused(*given, tmp_path / "good.tif", "--system", "altered_musplit",
            "--synthetic-poisson", "2", says=("--repeats MT", "needs no noise models"))  # fmt: skip


def test_noise_models_that_do_not_fit(
    refused: Call, bench: Any, bad: Path, run_folder: Path, tmp_path: Path
) -> None:
    model = run_folder / "noise_models/ER.npz"
    start = ["train", "--config", bench.yaml(tmp_path, **NOISE), "-o", "run",
             *bench.structures("ER", "MT")]  # fmt: skip
    given = [*start, "--noise-model", "ER"]
    refused(*given, model, "--synthetic-poisson", "3",
            says=(model, "poisson factor 2", "3 as in the data"))  # fmt: skip
    refused(*given, model, "--synthetic-gaussian", "2", says=(model, "gaussian sigma"))
    refused(*given, tmp_path / "no.npz", says=("no.npz", "no such file"))
    refused(*given, bad / "rgb.tif", says=("rgb.tif", "this is not a readable npz archive"))
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    refused(*given, tmp_path / "other.npz", says=("other.npz", "trained_weight"))
    other = GaussianMixture(np.zeros((3, 2)), 5000.0, 60000.0, 1.0).to_bytes()
    (tmp_path / "bright.npz").write_bytes(other)
    refused(*given, tmp_path / "bright.npz",
            says=("bright.npz", "signals from 5000 to 6e+04", "the data range from"))  # fmt: skip
    refused(*start, "--noise-model", "Golgi", model, says=("Golgi", "one of ER, MT"))
    refused(*given, model, "--noise-model", "ER", model, says=("--noise-model ER", "twice"))


def test_a_model_of_synthetic_noise_is_not_one_of_recorded_noise(
    refused: Call, bench: Any, run_folder: Path, tmp_path: Path
) -> None:
    models = [w for n in ("ER", "MT")
              for w in ("--noise-model", n, str(run_folder / f"noise_models/{n}.npz"))]  # fmt: skip
    refused("train", "--config", bench.yaml(tmp_path), "-o", "run",
            *bench.structures("ER", "MT"), *models,
            says=("ER.npz", "poisson factor 2", "0 as in the data"))  # fmt: skip


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--samples", "-1"], ("--samples", "0 or more")),
        (["--tolerance", "-1"], ("--tolerance", "0 or more")),
        (["--samples", "-3"], ("--samples", "-3")),
        (["--samples", "many"], ("--samples", "'many'")),
        (["--keep-samples", "-1"], ("--keep-samples", "-1")),
        (["--samples", "2", "--keep-samples", "3"], ("--keep-samples", "0 to 2")),
        (["--seed", "-1"], ("--seed", "a number from 0 to")),
        (["--tile", "2"], ("--tile", "at least 4 px")),
        (["--halo", "42"], ("--halo", "multiple of 4 px")),
        (["--halo", "-16"], ("--halo", "-16")),
        (["--noise-address", "place"], ("--noise-address", "'place'")),
    ],
)
def test_numbers_for_predict(
    options: list[str], says: tuple[str, ...], refused: Call, bench: Any, run_folder: Path
) -> None:
    refused("predict", run_folder, bench.image("ER"), "-o", "out", *options, says=says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seed", "-1"], ("--seed", "-1")),
        (["--synthetic-poisson", "-1"], ("-1", "--synthetic-poisson")),
        (["--synthetic-poisson", "nan"], ("nan", "--synthetic-poisson")),
        (["--synthetic-gaussian", "-1"], ("Gaussian", "--synthetic-gaussian")),
        (["--synthetic-gaussian", "inf"], ("Gaussian", "--synthetic-gaussian")),
    ],
)
@pytest.mark.parametrize("command", ["train", "evaluate", "superpose"])
def test_numbers_for_noise(
    command: str, options: list[str], says: tuple[str, ...], refused: Call, bench: Any,
    run_folder: Path, tmp_path: Path,
) -> None:  # fmt: skip
    # copies, or evaluate would warn that these were trained on
    both: list[object] = []
    for name in ("ER", "MT"):
        pixels = tifffile.imread(bench.image(name))[:, 1:]
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="minisblack")
        both += ["--structure", name, tmp_path / f"{name}.tif"]
    lines = {
        "train": ["--config", bench.yaml(tmp_path), "-o", "run"],
        "evaluate": [run_folder, "--samples", "2"],
        "superpose": ["-o", "mixed.tif"],
    }
    if command == "train":
        says = (options[0].strip("-").replace("-", "_").removeprefix("synthetic_"), options[1])
    refused(command, *lines[command], *both, *options, says=says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--max-steps", "0"], ("max_steps = 0",)),
        (["--beta", "-1"], ("beta = -1",)),
        (["--seed", str(2**31)], ("seed",)),
        (["--preset", "paper"], ("4 frames", "at least 10")),
        (["--offset", "ER", "much"], ("--offset ER", "expected a number", "'much'")),
        (["--offset", "Golgi", "1"], ("Golgi", "one of ER, MT")),
    ],
)
def test_numbers_for_train(
    options: list[str], says: tuple[str, ...], refused: Call, bench: Any, tmp_path: Path
) -> None:
    refused("train", "--config", bench.yaml(tmp_path, **NOISE), "-o", "run",
            *bench.structures("ER", "MT"), *options, says=says)  # fmt: skip


def test_names_that_make_no_file_name(refused: Call, bench: Any, tmp_path: Path) -> None:
    for name in ("../ER", "", "E/R"):
        refused("train", "--config", bench.yaml(tmp_path, **NOISE), "-o", "run",
                "--structure", name, bench.image("ER"),
                says=("structure name", repr(name)))  # fmt: skip


# ---------------------------------------------------------------- YAML


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("banana: 1", ("settings.yaml", "unknown key banana", "max_steps")),
        ("network: {filter: 8}", ("settings.yaml", "unknown key network.filter", "filters")),
        ("training: {precision: 8}", ("settings.yaml", "training.precision", "'bf16'")),
        ("network: 3", ("network = 3",)),
        ("network: {patch: 30}", ("patch 30", "16")),
        ("prediction: {halo: 50}", ("halo", "16", "50")),
        ("training: {schedule: cosine}", ("cosine needs max_steps",)),
        ("max_steps: many", ("max_steps = 'many'",)),
        ("noise_models: [a]", ("settings.yaml", "noise_models = ['a']")),
        ("offsets: 3", ("settings.yaml", "offsets = 3")),
        ("output: 3", ("settings.yaml", "output = 3")),
        ("resume: perhaps", ("settings.yaml", "resume = 'perhaps'")),
        ("structures: [a.tif]", ("settings.yaml", "NAME: [FILES]")),
        ("structures: {ER: 3}", ("settings.yaml", "structures")),
        ("structures: {ER: [a.tif], ER: [b.tif]}", ("settings.yaml", "ER is given twice")),
        ("seed: 1\nseed: 2", ("settings.yaml", "seed is given twice")),
        ("- a", ("settings.yaml", "a YAML mapping")),
        ("{", ("settings.yaml", "not valid YAML")),
    ],
)
def test_yaml_for_train(
    text: str, says: tuple[str, ...], refused: Call, bench: Any, tmp_path: Path
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    structures = () if "structures" in text else bench.structures("ER", "MT")
    output = () if "output" in text else ("-o", "run")
    refused("train", "--config", path, *structures, *output, says=says)


@pytest.mark.parametrize("command", ["predict", "evaluate", "superpose"])
@pytest.mark.parametrize(
    "values",
    [{"banana": 1}, {"seed": "x"}, {"seed": None}, {"seed": 1.5}, {"seed": [1]}, {"network": {}}],
    ids=repr,
)
def test_yaml_for_the_others(
    command: str, values: dict[str, Any], refused: Call, bench: Any, run_folder: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "options.yaml"
    path.write_text(yaml.safe_dump(values))
    both = bench.structures("ER", "MT")
    lines = {
        "predict": [run_folder, bench.image("mixed"), "-o", "out"],
        "evaluate": [run_folder, *both],
        "superpose": [*both, "-o", "mixed.tif"],
    }
    [key] = values
    refused(command, "--config", path, *lines[command], says=("options.yaml", key))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_yaml_file_that_is_not_there(command: str, refused: Call) -> None:
    refused(command, "--config", "no.yaml", says=("no.yaml", "no such file", "check the path"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ([], ("COMMAND",)),
        (["split"], ("'split'",)),
        (["train"], ("-o RUN",)),
        (["train", "-o", "run"], ("--structure NAME FILES",)),
        (["predict"], ("RUN",)),
        (["predict", "run", "-o", "out"], ("FILES",)),
        (["predict", "run", "a.tif"], ("-o DIR",)),
        (["predict", "run", "a.tif", "-o", "out", "--tiles"], ("--tiles",)),
        (["evaluate", "run"], ("--structure NAME FILES",)),
        (["superpose", "-o", "a.tif"], ("--structure NAME FILES",)),
    ],
    ids=" ".join,
)
def test_incomplete_lines(line: list[str], says: tuple[str, ...], refused: Call) -> None:
    refused(*line, says=says)
