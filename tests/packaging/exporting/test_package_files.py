"""``denoisplit export``: what lies in the archive, what its description says."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import denoisplit_zoo
import numpy as np
import pytest
import tifffile
import torch
import yaml
from denoisplit_zoo import export
from denoisplit_zoo.archive import read_package
from denoisplit_zoo.attachment import run_files
from denoisplit_zoo.exporting.cover import cover
from denoisplit_zoo.exporting.training_facts import gain_and_read
from denoisplit_zoo.exporting.weights import build_graph, graph_arguments
from PIL import Image

from denoisplit.config.settings import RunConfig
from denoisplit.files.json_file import write_json
from denoisplit.noise_models import GaussianMixture
from denoisplit.run import load

from ..conftest import SMALL, STRIDE, contents, small


@pytest.fixture(scope="module")
def files(package: Path) -> dict[str, bytes]:
    return contents(package)


@pytest.fixture(scope="module")
def described(files: dict[str, bytes]) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(files["rdf.yaml"])
    return values


# ---------------------------------------------------------------- the archive


def sources(value: Any) -> Iterator[str]:
    """Every ``source`` in a description."""
    if isinstance(value, dict):
        yield from (v for key, v in value.items() if key == "source")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from sources(each)


def test_files_are_those_that_the_description_names(
    files: dict[str, bytes], described: dict[str, Any]
) -> None:
    without_facts = {key: value for key, value in described.items() if key != "config"}
    named = {described["documentation"], *described["covers"], "rdf.yaml"}
    assert named | set(sources(without_facts)) == set(files)
    assert len(files) == 11


def test_hashes_are_those_of_the_files(files: dict[str, bytes], described: dict[str, Any]) -> None:
    entries = [*described["attachments"], *described["weights"].values()]
    entries.append(described["weights"]["pytorch_state_dict"]["architecture"])
    for tensor in (*described["inputs"], *described["outputs"]):
        entries += [tensor[key] for key in ("test_tensor", "sample_tensor") if key in tensor]
    assert len(entries) == 1 + 3 + 1 + 3
    for entry in entries:
        assert hashlib.sha256(files[entry["source"]]).hexdigest() == entry["sha256"]


def test_the_archive_is_dated_and_ordered_the_same_always(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        entries = archive.infolist()
    assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}
    names = [e.filename for e in entries]
    assert names == ["rdf.yaml", *sorted(names[1:])]


def test_no_folder_of_this_machine_is_named(files: dict[str, bytes], run_folder: Path) -> None:
    for name, data in files.items():
        assert str(run_folder.parent).encode() not in data, name
        assert str(Path(denoisplit_zoo.__file__).parent).encode() not in data, name


def test_the_attachment_is_the_run(
    package: Path, files: dict[str, bytes], run_folder: Path
) -> None:
    stored = json.loads(files["denoisplit.json"])
    config = RunConfig.model_validate(stored["config"])
    of_run = load(run_folder, device="cpu").config
    assert config.facts == of_run.facts
    assert [s.files for s in config.settings.structures] == [
        ("structure0.tif",),
        ("structure1.tif",),
    ]
    assert config.settings.network == of_run.settings.network
    assert stored["metrics"] == json.loads((run_folder / "metrics.json").read_text())
    held = run_files(read_package(package))
    names = {f"noise_models/{name}.npz" for name in ("ER", "F-actin (60x)")}
    assert held.keys() == {"config.yaml", "calibration.json", "metrics.json"} | names
    for name in held.keys() - {"config.yaml"}:  # which names no folders of images
        if name != "calibration.json":
            assert held[name] == (run_folder / name).read_bytes()
    assert json.loads(held["calibration.json"])["scalars"] == {"ER": 1.25, "F-actin (60x)": 0.75}


@pytest.mark.usefixtures("light")
def test_the_alarm_comes_along(run_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    write_json(run / "alarm.json", {"names": ["a"], "centre": [0.1, -2e-30]})
    file = export(run, tmp_path / "p.zip", **SMALL)
    assert run_files(read_package(file))["alarm.json"] == (run / "alarm.json").read_bytes()


def test_cover_has_the_errors_below_and_is_small(files: dict[str, bytes]) -> None:
    assert len(files["cover.png"]) < 500_000
    with Image.open(io.BytesIO(files["cover.png"])) as picture:
        assert picture.format == "PNG"
        assert picture.width == picture.height
        panels = np.asarray(picture).reshape(2, 480, 2, 480, 3).swapaxes(1, 2).reshape(4, -1, 3)
    assert (panels.reshape(4, -1).std(1) > 5).all()  # none is empty
    assert "below, error bars" in files["README.md"].decode()


def test_cover_without_errors_is_two_to_one() -> None:
    """Noise, which hardly shrinks, loses bits of its colours instead."""
    image, *split = np.random.default_rng(0).random((3, 256, 256), np.float32)
    data = cover(image, np.stack(split), ("A", "B"), None)
    assert len(data) < 500_000
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width == 2 * picture.height


def test_tensors_are_real_images_of_the_tile(files: dict[str, bytes]) -> None:
    image = np.load(io.BytesIO(files["test_input.npy"]))
    split = np.load(io.BytesIO(files["test_output.npy"]))
    assert (image.shape, split.shape) == ((1, 1, 96, 96), (1, 4, 96, 96))
    assert image.dtype == split.dtype == np.float32
    assert image.std() > 10 and np.isfinite(split).all()
    assert (split[:, 2:] > 0).all()
    np.testing.assert_array_equal(
        tifffile.imread(io.BytesIO(files["sample_input.tif"])), image[0, 0]
    )


# ---------------------------------------------------------------- the description


def test_limits_that_consumers_set(described: dict[str, Any]) -> None:
    (tensor_in,), (tensor_out,) = described["inputs"], described["outputs"]
    assert described["format_version"] == "0.5.9"
    assert isinstance(described["documentation"], str)
    assert all(isinstance(cover, str) for cover in described["covers"])
    for tensor in (tensor_in, tensor_out):
        assert not {"preprocessing", "postprocessing"} & tensor.keys()
        assert tensor["data"] == {"type": "float32"}
        axes = tensor["axes"]
        assert [axis["type"] for axis in axes] == ["batch", "channel", "space", "space"]
        assert [axis.get("id") for axis in axes[2:]] == ["y", "x"]
        assert all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in axes[1]["channel_names"])
    assert [axis["size"] for axis in tensor_in["axes"][2:]] == [96, 96]
    for axis in tensor_out["axes"][2:]:
        assert axis["halo"] == 32
        assert axis["size"] == {"tensor_id": tensor_in["id"], "axis_id": axis["id"]}
    assert tensor_out["axes"][1]["channel_names"] == [
        "ER", "F_actin_60x", "ER_std", "F_actin_60x_std",
    ]  # fmt: skip


def test_weight_entries(files: dict[str, bytes], described: dict[str, Any]) -> None:
    weights = described["weights"]
    assert set(weights) == {"pytorch_state_dict", "torchscript", "onnx"}
    assert [w for w, entry in weights.items() if "parent" not in entry] == ["pytorch_state_dict"]
    assert weights["onnx"]["opset_version"] == 17
    kwargs = weights["pytorch_state_dict"]["architecture"]["kwargs"]
    assert {type(value) for value in kwargs.values()} == {str, int, float, bool}
    state = torch.load(io.BytesIO(files["weights.pt"]), weights_only=True)
    assert state["calibration"].ravel().tolist() == [1.25, 0.75]


def test_what_reviewers_ask_for(described: dict[str, Any]) -> None:
    for key in ("description", "authors", "license", "tags", "timestamp", "version"):
        assert described[key], key
    assert described["cite"][0]["doi"] == "10.48550/arXiv.2403.11854"
    categories = {"fluorescence-light-microscopy", "2d", "cells", "pytorch", "ilastik", "unet"}
    assert categories <= set(described["tags"])
    config = described["config"]
    assert re.fullmatch(r"[a-z0-9-]+", config["bioimageio"]["nickname"])
    (tolerance,) = config["bioimageio"]["reproducibility_tolerance"]
    assert tolerance["relative_tolerance"] <= 1e-2
    assert tolerance["mismatched_elements_per_million"] <= 5000


def test_tolerance_means_something_in_every_channel(
    files: dict[str, bytes], described: dict[str, Any]
) -> None:
    (tolerance,) = described["config"]["bioimageio"]["reproducibility_tolerance"]
    ranges = np.ptp(np.load(io.BytesIO(files["test_output.npy"])), (0, 2, 3))
    assert ranges.max() > 2 * ranges.min()
    assert 0 < tolerance["absolute_tolerance"] < 0.0025 * ranges.min()
    assert "differences of 0.2 % of the value plus 0.2 %" in files["README.md"].decode()


def test_own_facts(described: dict[str, Any]) -> None:
    facts = described["config"]["denoisplit"]
    assert facts["structures"] == ["ER", "F-actin (60x)"]
    assert (facts["samples"], facts["seed"], facts["kind"]) == (2, 0, "mmse")
    assert facts["calibration"] == {"ER": 1.25, "F-actin (60x)": 0.75}
    assert facts["noise_models"]["ER"]["source"] == "ER"
    assert facts["training"]["steps"] == 200


def test_the_card_has_what_people_look_for(files: dict[str, bytes]) -> None:
    card = files["README.md"].decode()
    headings = re.findall(r"^## (.*)$", card, re.MULTILINE)
    assert headings == [
        "Description", "Intended Use", "How to use", "Validation", "Limitations", "Training data",
        "Citation",
    ]  # fmt: skip
    assert "| PSNR (dB) | 1.50 ± 0.25 | 1.50 ± 0.25 | 1.50 ± 0.25 |" in card
    assert "derived by a hash" in card
    for consumer in ("bioimageio.core", "ilastik", "Fiji"):
        assert consumer in card
    assert "$" not in card.replace("$ bioimageio", "")


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(("kind", "channels"), [("samples", 4), ("split", 2)])
def test_other_kinds_describe_themselves(
    run_folder: Path, tmp_path: Path, kind: str, channels: int, files: dict[str, bytes]
) -> None:
    found = contents(export(run_folder, tmp_path / "package.zip", kind=kind, **SMALL))
    assert found.keys() == files.keys()
    described = yaml.safe_load(found["rdf.yaml"])
    (tensor_out,) = described["outputs"]
    assert len(tensor_out["axes"][1]["channel_names"]) == channels
    assert "standard deviation" not in tensor_out["description"] + described["description"]
    split = np.load(io.BytesIO(found["test_output.npy"]))
    assert split.shape == (1, channels, 96, 96)
    mean = np.load(io.BytesIO(files["test_output.npy"]))[:, :2]
    means = split.reshape(1, -1, 2, 96, 96).mean(axis=1)
    np.testing.assert_allclose(means, mean, rtol=1e-5, atol=1e-3)
    arguments = described["weights"]["pytorch_state_dict"]["architecture"]
    assert arguments["callable"].lower() == kind
    assert described["config"]["denoisplit"]["kind"] == kind
    card = found["README.md"].decode()
    assert "calibration factors" not in card
    assert "$" not in card.replace("$ bioimageio", "")


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("kind", "graph", "ends"),
    [
        ("mmse", "MeanAndErrorMap", ["", "_std"]),
        ("fast", "Fast", ["", "_std"]),
        ("interval", "Interval", ["", "_low", "_high"]),
    ],
)
def test_kinds_with_an_error_map_describe_themselves(
    mapped_folder: Path, tmp_path: Path, kind: str, graph: str, ends: list[str]
) -> None:
    found = contents(export(mapped_folder, tmp_path / "package.zip", **small(kind)))
    described = yaml.safe_load(found["rdf.yaml"])
    (tensor_out,) = described["outputs"]
    names = [f"{name}{end}" for end in ends for name in ("ER", "F_actin_60x")]
    assert tensor_out["axes"][1]["channel_names"] == names
    assert np.load(io.BytesIO(found["test_output.npy"])).shape == (1, len(names), 96, 96)
    state = torch.load(io.BytesIO(found["weights.pt"]), weights_only=True)
    assert "error_map.quantiles" in state
    architecture = described["weights"]["pytorch_state_dict"]["architecture"]
    assert architecture["callable"] == graph
    sizes = {"error_groups": 3, "error_coverages": 2, "error_filters": 8}
    assert sizes.items() <= architecture["kwargs"].items()
    assert "calibration" not in state
    card = found["README.md"].decode()
    assert "$" not in card.replace("$ bioimageio", "")
    text = " ".join(card.split())
    assert "come from an error map: a small network" in text
    assert "calibration factors" not in text
    words = "standard deviation" if "_std" in ends else "intervals of about 90 % of the pixels"
    assert words in text
    facts = described["config"]["denoisplit"]
    assert facts["error_map"] is True
    assert facts.get("interval") == (0.9 if kind == "interval" else None)
    drawn = {"samples": 2, "seed": 0, "antithetic": True, "content_quantum": 2.0}
    one_pass = {"samples": 0}
    expected = drawn if kind == "mmse" else one_pass
    assert {key: facts[key] for key in drawn if key in facts} == expected
    assert ("posterior samples" in text.partition("## Validation")[0]) == (kind == "mmse")
    assert ("pseudo-random" in text) == (kind == "mmse")


# ---------------------------------------------------------------- the card


def rows(card: str) -> dict[str, str]:
    """The table of facts about the training images."""
    table = card.partition("| training images")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| (.*?) \| (.*) \|$", table, re.MULTILINE))


def test_the_card_has_the_facts_of_the_training_images(files: dict[str, bytes]) -> None:
    assert rows(files["README.md"].decode()) == {
        "pixel size (y, x)": "0.1 x 0.1 µm",
        "size of the frames (y, x)": "150 x 160 px",
        "number of frames": "1 for training, 1 for validation, 1 for test",
        "input: mean": "201.4, standard deviation between frames 10",
        "input: range": "3 to 812",
        "input: noise (standard deviation)": "25",
        "ER: mean": "99.79, standard deviation 39.8",
        "F-actin (60x): mean": "101.6, standard deviation 39.7",
        "ER: range of the signal": "0 to 1000",
        "ER: noise": "gain 0.001, read noise 1",
        "F-actin (60x): range of the signal": "0 to 1000",
        "F-actin (60x): noise": "gain 0.001, read noise 1",
        "noise added in the training": "Poisson noise of gain 1, Gaussian noise of standard "
        "deviation 20",
        "length of the training": "200 steps",
    }


@pytest.mark.usefixtures("light")
def test_facts_of_an_older_run_are_unknown(run_folder: Path, tmp_path: Path) -> None:
    run = load(run_folder, device="cpu")
    update = {"frame_sizes": [], "input_range": None, "pixel_size_um": {}}
    facts = run.config.facts.model_copy(update=update)
    run = replace(run, config=run.config.model_copy(update={"facts": facts}))
    found = rows(contents(export(run, tmp_path / "p.zip", **SMALL))["README.md"].decode())
    assert [name for name, text in found.items() if text == "unknown"] == [
        "pixel size (y, x)", "size of the frames (y, x)", "input: range",
    ]  # fmt: skip


def test_gain_and_read_noise_are_those_of_the_noise_model() -> None:
    """Variance 49 + 2.5 s, as a polynomial of s / 200."""
    weight = np.array([[0, 0], [np.log(49), np.log(500)], [0, 0]])
    assert gain_and_read(GaussianMixture(weight, 0, 200, 0.1)) == pytest.approx((2.5, 7), rel=1e-5)


@pytest.mark.usefixtures("light")
def test_the_card_has_what_the_authors_add(run_folder: Path, tmp_path: Path) -> None:
    about = {
        "cite": [{"text": "Data of the blobs", "doi": "10.5281/zenodo.1"}],
        "packaged_by": [{"name": "Bob"}],
        "microscope": "A light sheet.", "pixel_size_um": 0.25, "workflow": "Count the blobs.",
        "biases": "Only round blobs.",
    }  # fmt: skip
    found = contents(export(run_folder, tmp_path / "p.zip", about=about, **SMALL))
    card, described = found["README.md"].decode(), yaml.safe_load(found["rdf.yaml"])
    assert described["cite"][1] == about["cite"][0]  # type: ignore[index]
    assert described["packaged_by"] == about["packaged_by"]
    for heading, text in (
        ("Citation", "Data of the blobs, doi 10.5281/zenodo.1."),
        ("Training data", "Microscope: A light sheet."),
        ("Example workflow", "\n\nCount the blobs.\n"),
        ("Biases", "\n- Only round blobs.\n"),
    ):
        assert text in card.partition(f"# {heading}\n")[2].partition("\n#")[0], heading
    assert rows(card)["pixel size (y, x)"] == "0.25 x 0.25 µm"
    with tifffile.TiffFile(io.BytesIO(found["sample_input.tif"])) as file:
        assert file.pages.first.resolution == (4, 4)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("kind", ["mmse", "fast"])
def test_the_card_says_what_users_stumble_on(
    mapped_folder: Path, tmp_path: Path, kind: str
) -> None:
    card = contents(export(mapped_folder, tmp_path / "p.zip", **small(kind)))["README.md"].decode()
    text = " ".join(card.split())
    steps = {name: part for name, _, part in (s.partition(" ") for s in text.split("### "))}
    for consumer in ("ilastik", "Fiji"):
        assert f"to a multiple of {STRIDE} px" in steps[consumer]
    assert (
        "`bioimageio update-format`" in steps["Python"] and "the result is right" in steps["Python"]
    )
    assert "ZERO_MEAN_UNIT_VAR.MEAN_VAL: [0.0]" in steps["BiaPy"]
    assert ("needs 64-bit integers" in text) == (kind == "mmse")
    assert ("OpenVINO, can be used" in text) == (kind == "fast")


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("kind", ["mmse", "fast"])
def test_the_tile_error_is_that_of_tiles_of_the_test_image(
    mapped_folder: Path, tmp_path: Path, kind: str
) -> None:
    """Largest over all channels; compared with tiles that are cut here, of the same image."""
    run, options = load(mapped_folder, device="cpu"), small(kind)
    found = contents(export(run, tmp_path / "p.zip", **options))
    arguments = graph_arguments(run, samples=2, seed=0, kind=kind)
    graph = build_graph(run, arguments, kind)
    image = torch.from_numpy(np.load(io.BytesIO(found["test_input.npy"])))
    wide = torch.nn.functional.pad(image, (0, 32, 0, 0), mode="reflect")
    with torch.no_grad():
        whole, tiles = graph(wide), [graph(wide[..., start : start + 96]) for start in (0, 32)]
    differences = [
        (tile - whole[..., s : s + 96]).abs() for tile, s in zip(tiles, (0, 32), strict=True)
    ]
    error = max(differences[0][..., :64].max(), differences[1][..., 32:].max()) / np.ptp(
        image.numpy()
    )
    assert error > 0
    card = " ".join(found["README.md"].decode().split())
    assert f"in the test image by up to {float(error):.1g} of its range" in card
