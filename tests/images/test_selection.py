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
from denoisplit.images import (
    ImageFile,
    LazyImage,
    fingerprint,
    identity,
    list_files,
    open_image,
    read_frames,
)
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


@pytest.mark.parametrize(
    ("text", "series", "channel"),
    [
        ("a.ome.tif", None, None),
        ("a.ome.tif:ER", None, "ER"),
        ("a.ome.tif:0", None, "0"),
        ("a.ome.tif:Alexa: 488/x", None, "Alexa: 488/x"),
        ("a.ome.tif:series=2", 2, None),
        ("a.ome.tif:series=2:ER", 2, "ER"),
        ("a.ome.tif:series=two", None, "series=two"),
    ],
)
def test_texts_name_series_and_channels(
    text: str, series: int | None, channel: str | None, tmp_path: Path
) -> None:
    for there in (False, True):
        if there:
            (tmp_path / "a.ome.tif").touch()
        file = ImageFile.of(f"{tmp_path}/{text}")
        assert file == ImageFile(tmp_path / "a.ome.tif", series, channel)
        assert ImageFile.of(str(file)) == ImageFile.of(Path(str(file))) == file
        assert (file.name, str(file.resolve())) == (text, str(file))


def test_a_path_that_exists_is_never_taken_apart(tmp_path: Path) -> None:
    for name in ("a.tif", "a.tif:ER", "b:0.tif"):
        tifffile.imwrite(tmp_path / name, SERIES[0], **GREY)
        assert ImageFile.of(tmp_path / name) == ImageFile(tmp_path / name)
    assert ImageFile.of(tmp_path / "b:*.tif") == ImageFile(tmp_path / "b:*.tif")
    assert ImageFile.of(f"{tmp_path}/b:0.tif:0") == ImageFile(tmp_path / "b:0.tif", channel="0")
    np.testing.assert_array_equal(open_image(f"{tmp_path}/b:0.tif:0").load(), SERIES[0])


@pytest.mark.parametrize("text", ["C:\\x.tif", "c:/x.tif"])
def test_a_drive_letter_is_no_file(text: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path(text[0]).mkdir()
    assert ImageFile.of(text) == ImageFile(Path(text))
    assert ImageFile.of(f"{text}:ER") == ImageFile(Path(text), None, "ER")


def test_patterns_and_folders_choose_of_all_their_files(tmp_path: Path) -> None:
    for number in (10, 2):
        ome_series(tmp_path / f"a{number}.ome.tif")
    for entry in (f"{tmp_path}:series=1:0", f"{tmp_path / '*.tif'}:series=1:0"):
        files = list_files(entry)
        assert [file.name for file in files] == [f"a{n}.ome.tif:series=1:0" for n in (2, 10)]
        frames = read_frames(entry)
        assert frames.origins == tuple(str(file.resolve()) for file in files)
        for image in frames.images:
            np.testing.assert_array_equal(image, SERIES[1][0])
    with pytest.raises(InputError, match="named twice"):
        list_files([f"{tmp_path}/a2.ome.tif:0", f"{tmp_path}/a2.ome.tif:0"])


def test_fingerprints_know_series_and_channel(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    ome_series(path)
    names = ["series=0:ER0", "series=0:0", "series=0:1", "series=1:MT1"]
    entries = fingerprint([f"{path}:{name}" for name in names])
    assert [(e["series"], e["channel"]) for e in entries] == [(0, 0), (0, 0), (0, 1), (1, 1)]
    assert [e["name"] for e in entries] == [f"a.ome.tif:{name}" for name in names]
    assert len({e["sha256"] for e in entries}) == 1
    assert len(set(map(identity, entries))) == 3
    with pytest.raises(InputError, match="another one"):
        ImageFile.of(f"{path}:ER").with_channel("MT")


def test_only_the_chosen_channel_is_read() -> None:
    keys: list[Any] = []

    class Spy:
        shape, dtype, chunks = (2, 3, 8, 9), np.dtype("u2"), (1, 1, 4, 4)

        def __getitem__(self, key: Any) -> Any:
            keys.append(key)
            return np.zeros(self.shape, self.dtype)[key]

    image = LazyImage(Spy(), ("t", "c", "y", "x"), ("A", "B", "C"), {}, Path("a")).only(1)
    assert (image.sizes, image.array.chunks) == ({"t": 2, "y": 8, "x": 9}, (1, 4, 4))
    assert image.load().shape == (2, 8, 9)
    image.plane({"t": 1})[2:4, 3:9]
    assert [key[1] for key in keys] == [1, 1]


def test_names_come_before_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["1", "0"]}}
    tifffile.imwrite(path, SERIES[0], ome=True, metadata=metadata, **GREY)
    np.testing.assert_array_equal(open_image(f"{path}:0").load(), SERIES[0][1])
    np.testing.assert_array_equal(open_image(ImageFile(path, None, 0)).load(), SERIES[0][0])
