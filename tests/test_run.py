"""The run folder: what was saved predicts the same; damage ends in one line, never in a pickle."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from denoisplit.config.settings import FORMAT_VERSION, Facts, RunConfig, settings_from
from denoisplit.errors import InputError
from denoisplit.files.json_file import write_json
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.run import (
    Run,
    build_network,
    load,
    noise_model_path,
    save_config,
    save_weights,
)

NAMES = ("ER", "F-actin (60x)")
SIZES = {"filters": 4, "latents": 3, "patch": 32}


def config(**values: Any) -> RunConfig:
    given = {
        "structures": [
            {"name": name, "files": [f"/gone/{k}.tif"], "offset": 100.0 * k}
            for k, name in enumerate(NAMES)
        ],
        "network": SIZES,
        "data": {"superposition": "sum"},
    }
    facts = Facts(
        gaussian_sigma=3400.25,
        pooled_std=3391.0,
        clip=None,
        input_frame_mean=(812.5, 31.0),
        input_noise_std=12.0,
        content_quantum=1.0,
        frames={"training": 8, "validation": 1, "test": 1},
        pixel_size_um={"y": 0.0626, "x": 0.0626},
        fingerprints={name: [{"name": "0.tif", "size": 7, "sha256": "00"}] for name in NAMES},
        libraries={"torch": "2"},
    )
    settings = settings_from(given | values)
    return RunConfig(format_version=FORMAT_VERSION, settings=settings, facts=facts)


def network(of: RunConfig, seed: int = 0) -> VSE:
    torch.manual_seed(seed)
    model = build_network(of.settings)
    model.input_mean.fill_(500.0)
    model.input_std.fill_(290.0)
    model.target_mean.copy_(torch.tensor([200.0, 300.0]))
    model.target_std.copy_(torch.tensor([100.0, 150.0]))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.num_batches_tracked.fill_(12)
    return model.eval()


def write(path: Path, of: RunConfig, model: VSE) -> Path:
    (path / "noise_models").mkdir(parents=True)
    save_config(path, of)
    save_weights(model, path / "model.safetensors")
    write_json(path / "calibration.json", {"scalars": dict(zip(NAMES, (1.25, 0.75), strict=True))})
    for k, name in enumerate(NAMES):
        weight = np.full((3, 2), float(k))
        mixture = GaussianMixture(weight, 0, 1000, 0.125, {"source": name})
        noise_model_path(path, name).write_bytes(mixture.to_bytes())
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that is only read."""
    of = config()
    return write(tmp_path_factory.mktemp("runs") / "er-actin", of, network(of))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "run"))


def refusal(path: Path) -> str:
    """The one line that a damaged run ends with; it names the run or a file in it."""
    with pytest.raises(InputError) as caught:
        load(path, device="cpu")
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


# ---------------------------------------------------------------- round trip


def test_a_run_is_what_was_saved(saved: Path) -> None:
    run = load(saved, device="cpu")
    assert isinstance(run, Run)
    assert run.config == config()
    assert run.path == saved
    assert run.names == NAMES
    assert run.calibration == {"ER": 1.25, "F-actin (60x)": 0.75}
    assert (run.superposition.kind, run.superposition.offsets) == ("sum", (0.0, 100.0))
    original = network(config()).state_dict()
    state = run.model.state_dict()
    assert set(state) == set(original)
    assert all(torch.equal(state[key], original[key]) for key in original)
    assert not any(module.training for module in run.model.modules())


def test_the_halo_is_the_measured_one_unless_set(folder: Path) -> None:
    assert load(folder, device="cpu").halo == 240  # none was measured: the exact one
    scalars = dict(zip(NAMES, (1.25, 0.75), strict=True))
    errors = {48: 1e-3, 64: 5e-5, 80: 1e-5}
    write_json(folder / "calibration.json", {"scalars": scalars, "halo_errors": errors})
    run = load(folder, device="cpu")
    assert run.halo_errors == errors
    assert run.halo == 80
    settings = run.config.settings
    given = settings.model_copy(
        update={"prediction": settings.prediction.model_copy(update={"halo": 64})}
    )
    assert replace(run, config=run.config.model_copy(update={"settings": given})).halo == 64


def test_a_saved_model_predicts_the_same_without_its_training_data(saved: Path) -> None:
    """The image files of the settings never existed here."""
    frame = np.random.default_rng(0).integers(0, 1000, (37, 50)).astype(np.uint16)
    sampling = Sampling(samples=3, keep=3, seed=5)
    before = predict_frame(network(config()), frame, sampling, tile=32, halo=16)
    after = predict_frame(load(saved, device="cpu").model, frame, sampling, tile=32, halo=16)
    again = predict_frame(load(saved, device="cpu").model, frame, sampling, tile=32, halo=16)
    assert before.bars is after.bars is again.bars is None  # without an error map
    for a, b, c in zip(before[:3], after[:3], again[:3], strict=True):
        # another memory layout sums in another order: 1e-6 of values up to a few 100
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-2)
        np.testing.assert_array_equal(c, b)


def test_a_run_can_be_moved_and_copied(folder: Path) -> None:
    moved = folder.rename(folder.with_name("mailed run µ"))
    assert load(str(moved), device="cpu").names == NAMES


def test_noise_models_come_in_channel_order(saved: Path) -> None:
    models = load(saved, device="cpu").noise_models()
    assert [m.about["source"] for m in models] == list(NAMES)
    assert [m.weight[0, 0].item() for m in models] == [0, 1]


def test_the_network_of_each_system() -> None:
    assert build_network(config().settings).output.out_channels == 2
    altered = build_network(config(system="altered_musplit").settings)
    assert altered.output.out_channels == 4
    hdn = config(network=SIZES | {"levels": 3, "variance": "exp", "log_variance_max": None})
    model = build_network(hdn.settings)
    assert model.stride == 8
    assert model.decoder.top.gauss.log_variance_max is None


@pytest.mark.parametrize(
    "network",
    [
        {"patch": 64, "levels": 3}, {"patch": 64, "planes": 3}, {"patch": 64, "planes": 5},
        {"patch": 64, "planes": 3, "context": "lean"},
        {"patch": 64, "planes": 5, "context": "deep", "levels": 8},
    ],
)  # fmt: skip
def test_the_settings_know_the_stride_of_their_network(network: dict[str, Any]) -> None:
    settings = config(system="musplit", network={"filters": 4, "latents": 2} | network).settings
    assert build_network(settings).stride == settings.network.stride


def test_the_files_are_those_of_the_contract(saved: Path) -> None:
    written = yaml.safe_load((saved / "config.yaml").read_text(encoding="utf-8"))
    assert written["format_version"] == FORMAT_VERSION
    tensors = load_tensors((saved / "model.safetensors").read_bytes())
    assert tensors["target_std"].tolist() == [100.0, 150.0]
    assert json.loads((saved / "calibration.json").read_text())["scalars"]["ER"] == 1.25


# ---------------------------------------------------------------- no run


def test_no_such_folder(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "none")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "image.tif").write_bytes(b"II*\0")
    assert "this folder holds no config.yaml" in refusal(tmp_path)


def test_a_file_is_no_run(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"")
    refusal(path)


@pytest.mark.parametrize(
    ("missing", "stage"), [("model.safetensors", "trained"), ("calibration.json", "calibrated")]
)
def test_an_unfinished_run_is_refused_with_the_command_that_finishes_it(
    folder: Path, missing: str, stage: str
) -> None:
    (folder / missing).unlink()
    text = refusal(folder)
    assert missing in text
    assert stage in text
    assert "--resume" in text


# ---------------------------------------------------------------- damaged configuration


def change_config(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        values = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        change(values)
        (folder / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")

    return damage


def rewrite(name: str, content: str | bytes) -> Callable[[Path], Any]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change_config(lambda v: v.update(format_version=99)), ["version 99", "versions 1 to 2"]),
        (change_config(lambda v: v.pop("format_version")), ["version None"]),
        (change_config(lambda v: v.update(format_version="1")), ["version 1"]),
        (change_config(lambda v: v.update(extra=1)), ["unknown key extra"]),
        (change_config(lambda v: v.pop("facts")), ["facts"]),
        (change_config(lambda v: v["facts"].pop("pooled_std")), ["facts.pooled_std"]),
        (change_config(lambda v: v["settings"]["network"].update(patch=40)), ["patch 40"]),
        (change_config(lambda v: v.update(settings=None)), ["settings"]),
        (rewrite("config.yaml", ""), ["expected a YAML mapping, but the file holds nothing"]),
        (rewrite("config.yaml", "a: [1\n"), ["this is not valid YAML"]),
        (rewrite("config.yaml", b"\xff\xff"), ["this is not valid YAML"]),
        (rewrite("config.yaml", "!!python/object/apply:os.getcwd []\n"), ["not valid YAML"]),
    ],
)
def test_damaged_configurations(
    folder: Path, damage: Callable[[Path], Any], words: list[str]
) -> None:
    damage(folder)
    text = refusal(folder)
    assert text.startswith(str(folder / "config.yaml"))
    for word in words:
        assert word in text


# ---------------------------------------------------------------- damaged weights


def change_weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_tensors(path.read_bytes())
        change(tensors)
        path.write_bytes(save_tensors(tensors))

    return damage


class Trap:
    """Unpickling it fails the test."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was executed",)


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def other_weights(**values: Any) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        of = config(**values)
        save_weights(build_network(of.settings), folder / "model.safetensors")

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (rewrite("model.safetensors", b""), ["the weights are not readable"]),
        (rewrite("model.safetensors", b"weights"), ["the weights are not readable"]),
        (rewrite("model.safetensors", pickle.dumps(Trap())), ["the weights are not readable"]),
        (cut_weights, ["the weights are not readable"]),
        (other_weights(network=SIZES | {"filters": 8}), ["another network"]),
        (other_weights(network=SIZES | {"levels": 3}), ["another network"]),
        (other_weights(network=SIZES | {"patch": 64}), ["another network", "prior"]),
        (other_weights(system="altered_musplit"), ["another network", "output"]),
        (change_weights(lambda t: t.pop("output.bias")), ["another network", "output.bias"]),
        (change_weights(lambda t: t.pop("target_std")), ["another network", "target_std"]),
        (change_weights(lambda t: t.update(more=torch.ones(1))), ["another network", "more"]),
    ],
)
def test_damaged_weights(folder: Path, damage: Callable[[Path], Any], words: list[str]) -> None:
    damage(folder)
    text = refusal(folder)
    assert text.startswith(str(folder / "model.safetensors"))
    for word in words:
        assert word in text


# ---------------------------------------------------------------- damaged calibration


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1, 2]",
        "{}",
        '{"scalars": 1.0}',
        '{"scalars": {"ER": 1.0}}',
        '{"scalars": {"ER": 1.0, "F-actin (60x)": 1.0, "MT": 1.0}}',
        '{"scalars": {"ER": "big", "F-actin (60x)": 1.0}}',
        '{"scalars": {"ER": null, "F-actin (60x)": 1.0}}',
        '{"scalars": {"ER": [1.0], "F-actin (60x)": 1.0}}',
        '{"scalars": {"ER": NaN, "F-actin (60x)": 1.0}}',
        b"\xff\xff",
    ],
)
def test_damaged_calibrations(folder: Path, content: str | bytes) -> None:
    rewrite("calibration.json", content)(folder)
    assert refusal(folder).startswith(str(folder / "calibration.json"))


def test_a_missing_noise_model_is_named_when_it_is_asked_for(folder: Path) -> None:
    noise_model_path(folder, NAMES[1]).unlink()
    run = load(folder, device="cpu")  # prediction needs none
    with pytest.raises(InputError, match=r"F-actin \(60x\).npz: no such file, expected a noise"):
        run.noise_models()


# ---------------------------------------------------------------- writing


def test_weights_are_replaced_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "model.safetensors").read_bytes()

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(InputError, match="No space left"):
        save_weights(network(config(), seed=1), folder / "model.safetensors")
    assert (folder / "model.safetensors").read_bytes() == before
    assert not list(folder.glob(".*"))
