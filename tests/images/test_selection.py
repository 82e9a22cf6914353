"""Images (series) and channels of one file, chosen by name or number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from denoisplit.errors import InputError
from denoisplit.images.formats.mrc import open_mrc
from denoisplit.images.formats.tiff import open_tiff
from denoisplit.images.formats.zarr import open_zarr

Pixels = np.ndarray[Any, Any]
GREY: dict[str, Any] = {"photometric": "minisblack"}
SERIES = [
    np.random.default_rng(n).integers(1, 99, (2, 20 + n, 30)).astype(np.uint16) for n in range(3)
]


def ome_series(path: Path) -> None:
    """Write three images of two channels, each of its own size, names and pixel size."""
    with tifffile.TiffWriter(path, ome=True) as tif:
        for n, array in enumerate(SERIES):
            names = {"Name": [f"ER{n}", f"MT{n}"]}
            metadata = {"axes": "CYX", "Channel": names, "PhysicalSizeX": 0.1 * (n + 1)}
            tif.write(array, metadata=metadata, compression="zlib" if n else None, **GREY)


def zarr_image(group: Any, array: Pixels, n: int) -> dict[str, Any]:
    """Write one image with its attributes, which are returned too."""
    group.create_array(str(n), data=array, chunks=(1, 8, 8))
    axes = [{"name": "c", "type": "channel"}, {"name": "y", "unit": "micrometer"},
            {"name": "x", "unit": "micrometer"}]  # fmt: skip
    scale = [{"type": "scale", "scale": [1, 1, 0.1 * (n + 1)]}]
    datasets = [{"path": str(n), "coordinateTransformations": scale}]
    return {"axes": axes, "datasets": datasets}


def layout(path: Path, folders: list[str], attributes: dict[str, Any], version: Any) -> None:
    def wrapped(some: dict[str, Any]) -> dict[str, Any]:
        return {"ome": some} if version == 3 else some

    zarr.create_group(str(path), zarr_format=version, attributes=wrapped(attributes))
    for n, (folder, array) in enumerate(zip(folders, SERIES, strict=True)):
        group = zarr.open_group(str(path / folder), mode="a", zarr_format=version)
        labels = {"channels": [{"label": f"ER{n}"}, {"label": f"MT{n}"}]}
        group.attrs.update(wrapped({"multiscales": [zarr_image(group, array, n)], "omero": labels}))


def plate(path: Path) -> None:
    wells = {"A/1": ["A/1/0", "A/1/1"], "B/2": ["B/2/0"]}
    folders = [field for fields in wells.values() for field in fields]
    layout(path, folders, {"plate": {"wells": [{"path": well} for well in wells]}}, 2)
    for well, fields in wells.items():
        images = [{"path": field[-1]} for field in fields]
        group = zarr.open_group(str(path / well), mode="a", zarr_format=2)
        group.attrs["well"] = {"images": images}


def one_group(path: Path) -> None:
    group = zarr.create_group(str(path), zarr_format=2)
    group.attrs["multiscales"] = [zarr_image(group, a, n) for n, a in enumerate(SERIES)]


RAW = {"bioformats2raw.layout": 3}
FILES: dict[str, Callable[[Path], Any]] = {
    "ome.tif": ome_series,
    "raw2.zarr": lambda path: layout(path, ["0", "1", "2"], RAW, 2),
    "raw3.zarr": lambda path: layout(path, ["0", "1", "2"], RAW, 3),
    "plate.zarr": plate,
    "one.zarr": one_group,
}


@pytest.mark.parametrize("kind", FILES)
def test_every_series_has_its_own_pixels_names_and_scale(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    FILES[kind](path)
    opener = open_tiff if path.suffix == ".tif" else open_zarr
    for n, array in enumerate(SERIES):
        image = opener(path, n)
        np.testing.assert_array_equal(image.load(), array)
        assert image.pixel_size_um["x"] == pytest.approx(0.1 * (n + 1))
        if kind != "one.zarr":
            assert image.channels == (f"ER{n}", f"MT{n}")
    for wrong in (None, -1, 3):
        with pytest.raises(InputError, match=r"there are 3 images in one file .*:series=2$"):
            opener(path, wrong)


def test_a_file_of_one_image_has_series_0(tmp_path: Path) -> None:
    plain, stack, array = tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "c.zarr"
    tifffile.imwrite(plain, SERIES[0], **GREY)
    with tifffile.TiffWriter(stack) as tif:
        for plane in SERIES[0]:
            tif.write(plane, contiguous=False, **GREY)
    zarr.save(str(array), SERIES[0])
    for path, opener in ((plain, open_tiff), (stack, open_tiff), (array, open_zarr)):
        for series in (None, 0):
            np.testing.assert_array_equal(opener(path, series).load(), SERIES[0])
        with pytest.raises(InputError, match=r"there is 1 image .*none of number 1"):
            opener(path, 1)
    with pytest.raises(InputError, match="none of number 2"):
        open_mrc(tmp_path / "missing.mrc", 2)


@pytest.mark.parametrize("name", ["..", "../other", "/other", "", "."])
def test_an_image_outside_its_zarr_is_refused(name: str, tmp_path: Path) -> None:
    layout(tmp_path / "a.zarr", ["0", "1", "2"], RAW, 2)
    attributes = {"series": [name]}
    zarr.create_group(str(tmp_path / "a.zarr" / "OME"), zarr_format=2, attributes=attributes)
    with pytest.raises(InputError, match="not inside it"):
        open_zarr(tmp_path / "a.zarr")
