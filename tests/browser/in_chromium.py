"""The page of docs/demo in headless Chromium, against `denoisplit predict`; see `make browser`.

It is not collected by `make test`, which needs neither Node.js nor a browser.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from denoisplit_zoo import About, export

from denoisplit import predict
from denoisplit.images.formats.tiff import open_tiff

from ..packaging.conftest import ABOUT, DEEP, blobs, make_run, small, structure_files

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4  # of the range of the image
NAMES = ("ER", "actin")

Drive = Callable[..., list[Any]]
Array = npt.NDArray[Any]


class Host(SimpleHTTPRequestHandler):
    """A web host that sends no headers of its own, and keeps no log."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    host = partial(Host, directory=ROOT / "build" / "demo")
    with ThreadingHTTPServer(("127.0.0.1", 0), host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture
def drive(address: str, tmp_path: Path) -> Drive:
    """Open the page, take steps of drive.mjs there, and return what they return."""

    def run(*steps: Any) -> list[Any]:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        assert chromium is not None, "install chromium (Debian, Ubuntu: apt-get install chromium)"
        command = ["node", ROOT / "tests/browser/drive.mjs", chromium, address, tmp_path]
        done = subprocess.run(
            [str(word) for word in command],
            input=json.dumps([["open"], *steps, ["complaints"]], default=str),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        _, *answers, complaints = json.loads(done.stdout)
        assert complaints == []
        return answers

    return run


def exported(folder: Path, names: tuple[str, ...], **options: Any) -> tuple[Path, Path]:
    """An untrained run with an error map, and its package of kind fast."""
    files = structure_files(folder / "images", names, (150, 160))
    run = make_run(folder / "run", files, network=DEEP, error_map=True)
    about = About.model_validate(ABOUT)
    return run, export(run, folder / "fast.zip", about=about, **(small("fast") | options))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return exported(tmp_path_factory.mktemp("two"), NAMES)


def mixed(height: int, width: int) -> Array:
    noise = np.random.default_rng(3).normal(0, 10, (height, width))
    return np.clip(blobs(1, (height, width)) + noise, 0, 255)


def predicted(run: Path, image: Path, output: Path) -> Array:
    """Decoded means, then their stds, as `denoisplit predict --samples 0` writes them."""
    predict(run, [image], output, samples=0)
    ends = ("split", "std")
    parts = [tifffile.imread(output / f"{image.stem}_{end}.ome.tif") for end in ends]
    return np.concatenate([part.reshape(-1, *part.shape[-2:]) for part in parts])


def split(package: Path, image: Path) -> list[list[Any]]:
    return [
        ["choose", "#package", package],
        ["wait", "#package-facts", ": "],
        ["choose", "#image", image],
        ["wait", "#image-facts", " px"],
        ["click", "#split"],
        ["wait", "#status", "split in"],
    ]


def downloaded(folder: Path, image: Path, names: tuple[str, ...]) -> Array:
    """The file that was downloaded, whose channels have names."""
    with tifffile.TiffFile(folder / f"{image.stem}_split.tif") as file:
        assert file.is_imagej and file.imagej_metadata is not None
        assert file.imagej_metadata["Labels"] == [*names, *(f"{name}_std" for name in names)]
        result = file.asarray()
    assert result.dtype == np.float32
    return result


def write_png(path: Path, pixels: Array) -> None:
    path.write_bytes(imagecodecs.png_encode(pixels))


def write_tiff(path: Path, pixels: Array, **options: Any) -> None:
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)


@pytest.mark.parametrize(
    ("suffix", "dtype", "shape", "options"),
    [
        (
            ".tif",
            "uint16",
            (850, 839),
            {"tile": (64, 64), "predictor": True, "compression": "zlib"},
        ),
        (".tif", "uint8", (61, 333), {"bigtiff": True, "byteorder": ">"}),
        (".tif", "float32", (16, 27), {"compression": "lzw"}),
        (".tif", "int16", (100, 100), {"byteorder": ">", "rowsperstrip": 7}),
        (".png", "uint16", (130, 96), {}),
        (".png", "uint8", (96, 130), {}),
    ],
)
def test_result_is_that_of_predict(
    two: tuple[Path, Path], drive: Drive, tmp_path: Path, suffix: str, dtype: str,
    shape: tuple[int, int], options: dict[str, Any],
) -> None:  # fmt: skip
    run, package = two
    image, pixels = tmp_path / f"mixed{suffix}", mixed(*shape).astype(dtype)
    (write_png if suffix == ".png" else write_tiff)(image, pixels, **options)
    wanted = predicted(run, image, tmp_path / "predicted")
    drive(*split(package, image), ["click", "#download"], ["saved"])
    result = downloaded(tmp_path, image, NAMES)
    assert result.shape == wanted.shape == (4, *shape)
    assert np.abs(result - wanted).max() < TOLERANCE * float(np.ptp(pixels))


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_structures(drive: Drive, tmp_path: Path, count: int) -> None:
    names = ("ER", "actin", "nuclei")[:count]
    run, package = exported(tmp_path, names)
    image, pixels = tmp_path / "mixed.tif", mixed(64, 80).astype(np.float32)
    write_tiff(image, pixels)
    wanted = predicted(run, image, tmp_path / "predicted")
    *_, panels, _, _ = drive(
        *split(package, image), ["count", "canvas"], ["click", "#download"], ["saved"]
    )
    assert panels == 2 * count + 2
    result = downloaded(tmp_path, image, names)
    assert np.abs(result - wanted).max() < TOLERANCE * float(np.ptp(pixels))


def test_dropped_files_and_one_plane_of_a_stack(
    two: tuple[Path, Path], drive: Drive, tmp_path: Path
) -> None:
    run, package = two
    stack = tmp_path / "stack.tif"
    planes = np.stack([mixed(64, 64), mixed(64, 64)[::-1], mixed(64, 64).T]).astype(np.uint16)
    size = {"axes": "TYX", "unit": "um"}
    write_tiff(stack, planes, imagej=True, metadata=size, resolution=(1 / 0.125, 1 / 0.25))
    wanted = predicted(run, stack, tmp_path / "predicted")  # 2 x (T, C), of which all T are merged
    *_, count, _, _, _, _, values, _, _ = drive(
        ["drop", package, stack],
        ["wait", "#image-facts", " px"],
        ["text", "#planes"],
        ["type", "#plane", "2"],
        ["click", "#split"],
        ["wait", "#status", "split in"],
        ["point", "canvas", 0.5, 0.5],
        ["text", "#values"],
        ["click", "#download"],
        ["saved"],
    )
    assert count == "3"
    result = downloaded(tmp_path, stack, NAMES)
    assert open_tiff(tmp_path / "stack_split.tif").pixel_size_um == {"x": 0.125, "y": 0.25}
    assert np.abs(result - wanted.reshape(2, 3, 2, 64, 64)[:, 1].reshape(4, 64, 64)).max() < (
        TOLERANCE * float(np.ptp(planes))
    )
    assert f"x 32, y 32; image {planes[1, 32, 32]}; ER " in values


def test_panels_have_a_colour_per_structure_and_ranges(
    two: tuple[Path, Path], drive: Drive, tmp_path: Path
) -> None:
    image = tmp_path / "mixed.tif"
    write_tiff(image, mixed(96, 96).astype(np.uint8))
    *_, before, _, after, _, again, zoomed, _, _, moved, _, whole, _, _, _, resized = drive(
        *split(two[1], image),
        ["colours"],
        ["type", "[aria-label='ER, upper end']", "1e6"],
        ["colours"],
        ["click", "[aria-label='ER, automatic contrast']"],
        ["colours"],
        ["visible", "#whole"],
        ["point", "canvas", 0.5, 0.5],
        ["wheel", -400],
        ["visible", "#whole"],
        ["click", "#whole"],
        ["visible", "#whole"],
        ["point", "canvas", 0.5, 0.5],
        ["wheel", -400],
        ["width", 420],
        ["visible", "#whole"],
    )
    raw, overlay, er, er_bar, actin, actin_bar = np.array(before)
    assert np.ptp(raw) < 1e-6
    for magenta in (er, er_bar):
        assert magenta[0] > magenta[2] > 3 * magenta[1] > 0
    for green in (actin, actin_bar):
        assert green[1] > 2 * green[2] > 0
    assert (overlay >= np.maximum(er, actin) - 1).all()
    assert np.array(after)[2].max() < 1  # black in its own panel and in the overlay
    np.testing.assert_allclose(after[1], actin, atol=1)
    assert again == before
    assert (zoomed, moved, whole, resized) == (False, True, False, False)


def test_a_cancelled_split_can_be_done_again(
    two: tuple[Path, Path], drive: Drive, tmp_path: Path
) -> None:
    image = tmp_path / "mixed.tif"
    write_tiff(image, mixed(900, 1800).astype(np.uint8))
    *_, hidden, _, _ = drive(
        *split(two[1], image)[:-1],
        ["wait", "#status", "left"],
        ["click", "#cancel"],
        ["wait", "#status", "cancelled"],
        ["visible", "#cancel"],
        ["click", "#split"],
        ["wait", "#status", "split in"],
    )
    assert not hidden


def test_only_files_of_the_page_are_fetched(
    two: tuple[Path, Path], drive: Drive, tmp_path: Path, address: str
) -> None:
    image = tmp_path / "mixed.tif"
    write_tiff(image, mixed(64, 64).astype(np.uint8))
    *_, requests = drive(*split(two[1], image), ["requests"])
    files = {file.name for file in (ROOT / "build" / "demo").iterdir()}
    assert {url.removeprefix(address) for url in requests} == files - {"index.html"} | {""}


def changed(package: Path, output: Path, **files: bytes | None) -> Path:
    """A copy of a package, some of whose files are replaced or left out."""
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(output, "w") as new:
        for name in old.namelist():
            data = files.get(name.replace(".", "_"), old.read(name))
            if data is not None:
                new.writestr(name, data)
    return output


def test_unusable_files_are_refused_in_one_line(
    two: tuple[Path, Path], drive: Drive, tmp_path: Path
) -> None:
    run, package = two
    grey = mixed(64, 64).astype(np.uint8)
    with zipfile.ZipFile(package) as archive:
        description, weights = archive.read("rdf.yaml"), archive.read("weights.onnx")
    write_tiff(tmp_path / "good.tif", grey)
    good = (tmp_path / "good.tif").read_bytes()
    bad: dict[Path, str] = {}

    def refuse(name: str, why: str) -> Path:
        bad[tmp_path / name] = why
        return tmp_path / name

    tifffile.imwrite(refuse("colour.tif", "colour"), np.stack([grey] * 3, -1), photometric="rgb")
    write_png(refuse("colour.png", "colour"), np.stack([grey] * 3, -1))
    write_tiff(refuse("double.tif", "64-bit"), grey.astype(np.float64))
    write_tiff(refuse("wide.tif", "32-bit integer"), grey.astype(np.uint32))
    write_tiff(refuse("nan.tif", "NaN"), np.full((64, 64), np.nan, np.float32))
    refuse("short.tif", "damaged").write_bytes(good[:-100])
    refuse("empty.tif", "damaged").write_bytes(b"")
    refuse("text.png", "damaged").write_bytes(b"some text")
    circle = bytearray(good)
    offset = int.from_bytes(circle[4:8], "little")
    end = offset + 2 + 12 * int.from_bytes(circle[offset : offset + 2], "little")
    circle[end : end + 4] = circle[4:8]
    refuse("circle.tif", "damaged").write_bytes(circle)
    refuse("text.zip", "no zip file").write_bytes(b"some text")
    about = About.model_validate(ABOUT)
    export(run, refuse("split.zip", "of kind split"), about=about, **small("split"))
    other = description.replace(b"  denoisplit:", b"  another:")
    changed(package, refuse("other.zip", "not made by denoisplit"), rdf_yaml=other)
    changed(package, refuse("none.zip", "no rdf.yaml"), rdf_yaml=None)
    changed(package, refuse("spoiled.zip", "unreadable"), rdf_yaml=b"a: [")
    changed(package, refuse("lacking.zip", "missing or damaged"), weights_onnx=None)
    changed(package, refuse("bit.zip", "missing or damaged"), weights_onnx=weights[:-1] + b"\0")
    steps: list[list[Any]] = []
    for path in bad:
        field = "#package" if path.suffix == ".zip" else "#image"
        steps += [["choose", field, path], ["problem"], ["enabled", "#split"]]
    small_image = tmp_path / "small.tif"
    write_tiff(small_image, grey[:15])
    steps += [*split(package, small_image)[:-1], ["problem"]]
    answers = drive(*steps)
    assert "at least 16 px" in answers[-1]
    for number, (path, why) in enumerate(bad.items()):
        _, line, enabled = answers[3 * number : 3 * number + 3]
        assert line.startswith(f"{path.name}: ")
        assert why in line
        assert "\n" not in line
        assert not enabled
