"""``denoisplit predict``: files, axes, samples, seeds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import xarray as xr

import denoisplit
from denoisplit.images import read_image, write_ome_tiff
from denoisplit.run import ERROR_MAP, Run

from ..forked import Process

Call = Callable[..., Any]


def write(path: Path, pixels: np.ndarray, dims: str, **pixel_um: float) -> Path:
    image = xr.DataArray(np.float32(pixels), dims=list(dims), attrs={"pixel_size_um": pixel_um})
    write_ome_tiff(path, image)
    return path


@pytest.fixture(scope="package")
def run_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without an error map; see `tests/jobs/test_error_bars.py` for one with it."""
    path = Path(shutil.copytree(run_folder, tmp_path_factory.mktemp("plain") / "er-mt"))
    (path / ERROR_MAP).unlink(missing_ok=True)
    return path


@pytest.fixture(scope="package")
def trained(run_folder: Path) -> Run:
    return denoisplit.load(run_folder)


@pytest.fixture
def frame(bench: Any, trained: Run, tmp_path: Path) -> Path:
    """A superposed frame of an odd size and the usual brightness."""
    pixels = sum(tifffile.imread(bench.image(name))[0, :45, :51] for name in ("ER", "MT"))
    pixels *= trained.config.facts.input_frame_mean[0] / pixels.mean()
    return write(tmp_path / "mixed.tif", pixels, "yx", x=0.0625, y=0.125)


def test_a_folder_of_results(works: Call, run_folder: Path, frame: Path) -> None:
    answer = works("predict", run_folder, frame, "-o", "out/of/this", "--samples", "4",
                   "--keep-samples", "2")  # fmt: skip
    names = {"mixed_split.ome.tif", "mixed_std.ome.tif", "mixed_samples.ome.tif"}
    assert {path.name for path in Path("out/of/this").iterdir()} == names
    assert {Path(line).name for line in answer.out.splitlines()} == names


def test_images_keep_their_meaning(works: Call, run_folder: Path, frame: Path) -> None:
    works("predict", run_folder, frame, "-o", "out", "--samples", "4", "--keep-samples", "2")
    channels = {
        "split": ["ER", "MT"],
        "std": ["ER", "MT"],
        "samples": ["ER_1", "MT_1", "ER_2", "MT_2"],
    }
    for kind, names in channels.items():
        image = read_image(f"out/mixed_{kind}.ome.tif")
        assert image.dtype == np.float32
        assert image.dims == ("c", "y", "x")
        assert image.shape == (len(names), 45, 51)
        assert list(image["c"].values) == names
        assert image.attrs["pixel_size_um"] == {"x": 0.0625, "y": 0.125}
        assert np.isfinite(image).all()
    assert (read_image("out/mixed_std.ome.tif") > 0).all()


@pytest.mark.parametrize(
    ("dims", "shape", "out_dims"),
    [
        ("tyx", (3, 33, 40), "tcyx"),
        ("zyx", (2, 33, 40), "czyx"),
        ("tzyx", (2, 3, 33, 40), "tczyx"),
        ("yx", (17, 70), "cyx"),
        ("yx", (19, 16), "cyx"),
    ],
)
def test_stacks_are_split_plane_by_plane(
    dims: str, shape: tuple[int, ...], out_dims: str, works: Call, run_folder: Path, tmp_path: Path
) -> None:
    """A plane of a stack comes out as if it were alone, whatever its size."""
    pixels = np.random.default_rng(0).uniform(20, 90, shape).astype(np.float32)
    stack = write(tmp_path / "stack.tif", pixels, dims, x=0.1, y=0.1, z=0.3)
    last = write(tmp_path / "last.tif", pixels.reshape(-1, *shape[-2:])[-1], "yx")
    works("predict", run_folder, stack, last, "-o", "out", "--samples", "2")
    whole, alone = (read_image(f"out/{name}_split.ome.tif") for name in ("stack", "last"))
    assert whole.dims == tuple(out_dims)
    assert {dim: whole.sizes[dim] for dim in dims} == dict(zip(dims, shape, strict=True))
    first = {dim: -1 for dim in dims if dim in "tz"}
    np.testing.assert_array_equal(whole.isel(first), alone)
    if "z" in dims:
        assert whole.attrs["pixel_size_um"]["z"] == pytest.approx(0.3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels_of_any_type_are_split_alike(
    dtype: str, works: Call, run_folder: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(20, 200, (32, 32))
    tifffile.imwrite(tmp_path / "a.tif", pixels.astype(dtype))
    tifffile.imwrite(tmp_path / "b.tif", pixels.astype("int32"))
    works("predict", run_folder, tmp_path / "a.tif", tmp_path / "b.tif", "-o", "out",
          "--samples", "1")  # fmt: skip
    a, b = (tifffile.imread(f"out/{name}_split.ome.tif") for name in "ab")
    np.testing.assert_array_equal(a, b)


def test_one_sample_has_no_std_and_a_line_says_so(
    works: Call, run_folder: Path, frame: Path
) -> None:
    answer = works("predict", "-q", run_folder, frame, "-o", "out", "--samples", "1")
    assert [path.name for path in Path("out").iterdir()] == ["mixed_split.ome.tif"]
    [line] = answer.err.splitlines()
    assert "no std is written" in line and "one sample has no spread" in line
    assert line.endswith(f"or add an error map with `denoisplit calibrate {run_folder}`")


def test_a_preview_is_near_the_mean_of_samples(works: Call, run_folder: Path, frame: Path) -> None:
    answer = works("predict", "-q", run_folder, frame, "-o", "preview", "--samples", "0")
    assert "a preview has no spread" in answer.err
    assert f"`denoisplit calibrate {run_folder}`" in answer.err
    assert [path.name for path in Path("preview").iterdir()] == ["mixed_split.ome.tif"]
    works("predict", run_folder, frame, "-o", "out", "--samples", "8", "--tolerance", "1e9")
    works("predict", run_folder, frame, "-o", "all", "--samples", "8")
    preview, out, all_ = (
        tifffile.imread(f"{name}/mixed_split.ome.tif") for name in ("preview", "out", "all")
    )
    np.testing.assert_array_equal(out, all_)  # 4 pairs are the fewest that are drawn
    assert np.abs(preview - out).mean() < 0.2 * np.ptp(out)


@pytest.mark.parametrize("samples", [2, 7, 8])
def test_few_samples_are_warned_of(
    samples: int, works: Call, run_folder: Path, frame: Path
) -> None:
    answer = works("predict", "-q", run_folder, frame, "-o", "out", "--samples", samples)
    lines = answer.err.splitlines()
    assert (
        lines
        == [
            f"{samples} samples: the mean is noisier than with more, and the std, their spread, is "
            "unreliable"
        ][: samples < 8]
    )


def test_an_interval_needs_an_error_map(refused: Call, run_folder: Path, frame: Path) -> None:
    refused("predict", run_folder, frame, "-o", "out", "--interval", "0.9",
            says=(f"{run_folder}: this run has no error map, which intervals of coverage 0.9 need",
                  f"`denoisplit calibrate {run_folder}`"))  # fmt: skip


def test_kept_samples_have_the_mean_and_the_std(
    works: Call, run_folder: Path, frame: Path, trained: Run
) -> None:
    """All samples kept: their mean is the split, their spread times the scalar the std."""
    works("predict", run_folder, frame, "-o", "out", "--samples", "4", "--keep-samples", "4")
    samples = tifffile.imread("out/mixed_samples.ome.tif").reshape(4, 2, 45, 51).astype(float)
    split, std = (tifffile.imread(f"out/mixed_{kind}.ome.tif") for kind in ("split", "std"))
    np.testing.assert_allclose(samples.mean(axis=0), split, rtol=1e-4)
    scalars = np.array([trained.calibration[name] for name in trained.names])
    # antithetic pairs: divisor S
    expected = scalars[:, None, None] * samples.std(axis=0)
    np.testing.assert_allclose(expected, std, rtol=0.02, atol=1e-4)


def test_a_seed_is_one_result(works: Call, run_folder: Path, frame: Path) -> None:
    """Fewer samples are the first of more, another seed gives others, tiles do not matter."""
    calls: dict[str, tuple[str, ...]] = {
        "first": ("--samples", "4", "--keep-samples", "2"),
        "again": ("--samples", "2", "--keep-samples", "2", "--seed", "0"),
        "other": ("--samples", "4", "--keep-samples", "2", "--seed", "1"),
        "content": ("--samples", "4", "--keep-samples", "2", "--noise-address", "content"),
        "tiles": ("--samples", "4", "--keep-samples", "2", "--tile", "16", "--halo", "60"),  # exact
    }
    found = {}
    for name, options in calls.items():
        works("predict", run_folder, frame, "-o", name, *options)
        found[name] = tifffile.imread(f"{name}/mixed_samples.ome.tif")
    np.testing.assert_array_equal(found["first"], found["again"])
    span = float(np.ptp(found["first"]))
    assert np.abs(found["first"] - found["tiles"]).max() < 1e-4 * span
    for name in ("other", "content"):
        assert not np.array_equal(found["first"], found[name])


def test_content_addresses_travel_with_the_image(
    works: Call, run_folder: Path, tmp_path: Path
) -> None:
    """Moved by one stride, content-addressed samples move along, position-addressed ones do not."""
    pixels = np.random.default_rng(0).uniform(20, 90, (64, 160))
    write(tmp_path / "a.tif", pixels[:, :144], "yx")
    write(tmp_path / "b.tif", pixels[:, 16:], "yx")
    files = (tmp_path / "a.tif", tmp_path / "b.tif")
    common = {"a": np.s_[0, 24:40, 80:96], "b": np.s_[0, 24:40, 64:80]}  # far from the borders
    for address in ("content", "position"):
        works("predict", run_folder, *files, "-o", address, "--samples", "1",
              "--keep-samples", "1", "--noise-address", address)  # fmt: skip
        a, b = (tifffile.imread(f"{address}/{n}_samples.ome.tif")[common[n]] for n in "ab")
        same = np.abs(a - b).max() < 1e-3 * np.ptp(a)
        assert same == (address == "content")


def test_results_can_be_added_to_a_folder_but_not_replaced(
    works: Call, refused: Call, run_folder: Path, frame: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other.tif", tifffile.imread(frame), "yx")
    works("predict", run_folder, frame, "-o", "out", "--samples", "1")
    refused("predict", run_folder, other, "-o", "out", says=("out:", "--add"))
    works("predict", run_folder, other, "-o", "out", "--samples", "1", "--add")
    assert len(list(Path("out").iterdir())) == 2
    refused("predict", run_folder, frame, "-o", "out", "--add", "--samples", "1",
            says=("mixed_split.ome.tif", "this output exists already"))  # fmt: skip


def test_an_input_of_another_brightness_is_warned_of(
    works: Call, run_folder: Path, frame: Path, tmp_path: Path
) -> None:
    bright = write(tmp_path / "bright.tif", 3 * tifffile.imread(frame), "yx")
    answer = works("predict", "-q", run_folder, frame, bright, "-o", "out", "--samples", "8")
    [line] = answer.err.splitlines()
    assert str(bright) in line and "mean intensity" in line and "offset" in line


def test_a_mailed_run_needs_nothing_else(
    run_folder: Path, frame: Path, trained: Run, programs: Path
) -> None:
    """In a process of its own, in a folder where the images of the training never were."""
    done = Process(programs, "predict", run_folder, frame, "-o", "out", "--samples", "2").end()
    assert done.code == 0, done.err
    assert done.out.split() == ["out/mixed_split.ome.tif", "out/mixed_std.ome.tif"]
    here = denoisplit.predict_image(trained, read_image(frame), samples=2)
    np.testing.assert_allclose(
        tifffile.imread("out/mixed_split.ome.tif"), here.mean, rtol=1e-4, atol=1e-2
    )
