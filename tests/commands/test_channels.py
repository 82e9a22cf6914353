"""Structures and images that are channels of one file: all as with a file for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
import zarr

from denoisplit import evaluate, predict
from denoisplit.images import read_image
from tests.commands.conftest import NOISE, PIXEL_UM, TINY

NAMES = ("ER", "MT", "mixed")
FORMATS = ("ome.tif", "imagej.tif", "ome.zarr")


@pytest.fixture(scope="package")
def stacks(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both structures and their sum as channels of one file, in each format."""
    folder = tmp_path_factory.mktemp("stacks")
    array = np.stack([tifffile.imread(bench.image(name)) for name in NAMES], axis=1)
    grey: dict[str, Any] = {"photometric": "minisblack"}
    lengths = {f"PhysicalSize{axis.upper()}": size for axis, size in PIXEL_UM.items()}
    metadata: dict[str, Any] = {"axes": "TCYX", "Channel": {"Name": NAMES}, **lengths}
    metadata |= {"TimeIncrement": 2500, "TimeIncrementUnit": "ms"}
    tifffile.imwrite(folder / "a.ome.tif", array, ome=True, metadata=metadata, **grey)
    metadata = {"axes": "TCYX", "unit": "um", "Labels": NAMES * len(array), "finterval": 2.5}
    resolution = (1 / PIXEL_UM["x"], 1 / PIXEL_UM["y"])
    tifffile.imwrite(
        folder / "a.imagej.tif", array, imagej=True, metadata=metadata, resolution=resolution
    )
    known = {"t": "second", "y": "micrometer", "x": "micrometer"}
    units = [{"name": axis, "unit": known.get(axis)} for axis in "tcyx"]
    scale = {"type": "scale", "scale": [2.5, 1, PIXEL_UM["y"], PIXEL_UM["x"]]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    attributes = {
        "multiscales": [{"axes": units, "datasets": datasets}],
        "omero": {"channels": [{"label": name} for name in NAMES]},
    }
    group = zarr.create_group(str(folder / "a.ome.zarr"), zarr_format=2, attributes=attributes)
    group.create_array("0", data=array, chunks=(1, 1, 32, 32))
    return folder


def test_a_training_from_channels_is_that_from_files(
    works: Callable[..., Any], refused: Callable[..., Any], bench: Any, stacks: Path,
    run_folder: Path, tmp_path: Path,
) -> None:  # fmt: skip
    config, er = bench.yaml(tmp_path, **TINY, **NOISE), f"{stacks / 'a.ome.tif'}:ER"
    structures = ("--structure", "ER", er, "--structure", "MT", f"{stacks / 'a.ome.zarr'}:1")
    works("train", "-q", "--config", config, "-o", "run", *structures)
    for name in ("model.safetensors", "calibration.json", "metrics.json", "alarm.json"):
        assert Path("run", name).read_bytes() == (run_folder / name).read_bytes(), name
    facts = yaml.safe_load(Path("run", "config.yaml").read_text())["facts"]
    (entry,) = facts["fingerprints"]["MT"]
    assert (entry["name"], entry["channel"]) == ("a.ome.zarr:1", 1)
    works("train", "-q", "--resume", "-o", "run", "--config", config, *structures)
    other = ("--structure", "ER", er, "--structure", "MT", f"{stacks / 'a.ome.zarr'}:2")
    refused("train", "--resume", "-o", "run", "--config", config, *other,
            says=("a.ome.zarr:2", "a.ome.zarr:1"))  # fmt: skip


@pytest.fixture(scope="module")
def whole(run_folder: Path, bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The prediction of a file."""
    folder = tmp_path_factory.mktemp("whole")
    predict(run_folder, [bench.image("mixed")], folder, samples=2)
    return read_image(folder / "mixed_split.ome.tif")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_prediction_of_a_channel_is_that_of_its_file(
    kind: str, works: Callable[..., Any], stacks: Path, run_folder: Path, whole: Any
) -> None:
    path, short, expected = stacks / f"a.{kind}", ("-q", "--samples", "2"), whole
    works("predict", run_folder, f"{path}:mixed", "-o", "named", *short)
    works("predict", run_folder, path, "--channel", "2", "-o", "numbered", *short)
    stem, ending = kind.split(".")[0].replace("ome", "a"), ".zarr" if "zarr" in kind else ".tif"
    stem = "a.imagej" if kind == "imagej.tif" else stem
    for folder, name in (("named", "mixed"), ("numbered", "2")):
        split = read_image(f"{folder}/{stem}_{name}_split.ome{ending}")
        assert split.dims == expected.dims
        np.testing.assert_array_equal(split.values, expected.values)
        assert split.attrs["pixel_size_um"] == pytest.approx(PIXEL_UM)


@pytest.mark.parametrize("kind", FORMATS)
def test_superposed_channels_are_their_sum_with_the_time_between_frames(
    kind: str, stacks: Path, works: Callable[..., Any]
) -> None:
    path = stacks / f"a.{kind}"
    works("superpose", "--structure", "ER", f"{path}:ER", "--structure", "MT", f"{path}:1",
          "-o", "sum.tif")  # fmt: skip
    superposed, mixed = read_image("sum.tif"), read_image(f"{path}:mixed")
    np.testing.assert_allclose(superposed.values, mixed.values, rtol=1e-6)
    assert superposed.attrs["pixel_size_um"] == pytest.approx(PIXEL_UM)
    assert superposed.attrs["time_increment_s"] == mixed.attrs["time_increment_s"] == 2.5


def test_an_evaluation_of_channels_is_that_of_files(bench: Any, stacks: Path, trained: Any) -> None:
    whole = evaluate(trained, {name: bench.image(name) for name in NAMES[:2]}, samples=2)
    whole.pop("input")
    for kind in FORMATS:
        path = stacks / f"a.{kind}"
        parts = evaluate(trained, {"ER": f"{path}:ER", "MT": f"{path}:1"}, samples=2)
        assert parts.pop("input") == {"ER": [f"{path.name}:ER"], "MT": [f"{path.name}:1"]}
        assert parts == whole


def test_one_channel_under_two_names_is_refused(
    refused: Callable[..., str], bench: Any, stacks: Path, run_folder: Path
) -> None:
    path = f"{stacks / 'a.ome.tif'}"
    both, says = (f"{path}:mixed", f"{path}:2"), ("the same image as", "leave one of them out")
    structures = ("--structure", "ER", f"{path}:0", f"{path}:ER", "--structure", "MT", *both)
    refused("superpose", *structures, "-o", "sum.tif", says=says)
    refused("evaluate", run_folder, *structures, says=says)
    truth = ("--truth", "ER", bench.image("ER"), "--truth", "MT", bench.image("MT"))
    refused("evaluate", run_folder, "--mixed", *both, *truth, says=says)
    refused("noise-model", "fit", "--repeats", *both, "-o", "a.npz", says=("the same shot as",))


def test_channels_that_cannot_be_used_are_refused(
    refused: Callable[..., str], bench: Any, stacks: Path, run_folder: Path, tmp_path: Path
) -> None:
    path, config = stacks / "a.ome.tif", bench.yaml(tmp_path, **NOISE)
    listed = "3 channels (ER, MT, mixed)"
    refused("predict", run_folder, path, "-o", "out", says=(listed, "a.ome.tif:ER"))
    refused("predict", run_folder, f"{path}:DNA", "-o", "out", says=("'DNA'", "(ER, MT, mixed)"))
    refused("predict", run_folder, path, "--channel", "3", "-o", "out", says=("0 to 2",))
    refused("predict", run_folder, f"{path}:ER", "--channel", "MT", "-o", "out", says=("'MT'",))
    same = ("--structure", "ER", f"{path}:ER", "--structure", "MT", f"{path}:0")
    for command in (("superpose", "-o", "sum.tif"), ("train", "-o", "run", "--config", config)):
        refused(*command, *same, says=("the same image", "a.ome.tif:ER", "a.ome.tif:0"))
