"""One decision about planes: axes, scale and channels are the same in every format, or refused."""

from __future__ import annotations

import logging
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from denoisplit.errors import InputError
from denoisplit.images import open_image, read_frames, read_image

from . import vendor_files

SIZES = {"t": 2, "c": 3, "z": 4, "y": 20, "x": 30}
GREY = {"photometric": "minisblack"}
UM = {"z": 0.5, "y": 0.25, "x": 0.125}
Pixels = np.ndarray[Any, Any]


def pixels(dims: str, dtype: str = "uint16") -> Pixels:
    shape = [SIZES[dim] for dim in dims]
    return np.random.default_rng(len(dims)).integers(1, 250, shape).astype(dtype)


def ome(path: Path, array: Pixels, dims: str, **more: Any) -> None:
    lengths = {f"PhysicalSize{a.upper()}": length for a, length in UM.items() if a in dims}
    metadata = {"axes": dims.upper(), **lengths}
    tifffile.imwrite(path, array, ome=True, metadata=metadata, **GREY, **more)


def imagej(path: Path, array: Pixels, dims: str, **more: Any) -> None:
    order = [dims.index(dim) for dim in "tzcyx" if dim in dims]
    axes = "".join(dims[n] for n in order)
    metadata = {"axes": axes.upper(), "unit": "um", "spacing": UM["z"]}
    resolution = (1 / UM["x"], 1 / UM["y"])
    tifffile.imwrite(
        path, array.transpose(order), imagej=True, metadata=metadata, resolution=resolution, **more
    )


def ngff(
    path: Path, array: Pixels, dims: str, version: Any, order: str | None = None, side: int = 16
) -> None:
    order = order or dims
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": d, "type": kinds.get(d, "space"), "unit": "micrometer"} for d in order]
    scale = [{"type": "scale", "scale": [UM.get(d, 1.0) for d in order]}]
    scales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    attributes: dict[str, Any] = {"multiscales": scales}
    if version == 3:
        attributes = {"ome": attributes | {"version": "0.5"}}
    group = zarr.create_group(str(path), zarr_format=version, attributes=attributes)
    chunks = tuple(side if d in "yx" else 1 for d in order)
    stored = np.ascontiguousarray(array.transpose([dims.index(d) for d in order]))
    group.create_array("0", data=stored, chunks=chunks)


WRITERS: dict[str, Callable[[Path, Pixels, str], Any]] = {
    "ome.tif": ome,
    "ome zlib.tif": lambda p, a, d: ome(p, a, d, compression="zlib"),
    "ome tiles.tif": lambda p, a, d: ome(p, a, d, tile=(16, 16)),
    "ome big.tif": lambda p, a, d: ome(p, a, d, bigtiff=True, byteorder=">"),
    "imagej.tif": imagej,
    "imagej zlib.tif": lambda p, a, d: imagej(p, a, d, compression="zlib"),
    "2.zarr": lambda p, a, d: ngff(p, a, d, 2),
    "3.zarr": lambda p, a, d: ngff(p, a, d, 3),
    "reversed.zarr": lambda p, a, d: ngff(p, a, d, 3, d[::-1]),
    "a.nd2": vendor_files.nd2,
    "lossless.nd2": lambda p, a, d: vendor_files.nd2(p, a, d, compression=0),
    "a.lif": lambda p, a, d: vendor_files.lif(p, {"one": (a, d)}),
    "a.czi": vendor_files.czi,
    "zstd.czi": lambda p, a, d: vendor_files.czi(p, a, d, compression=6),
}
SQUARE = (".nd2",)  # formats that have one size for width and height


@pytest.mark.parametrize("dims", ["yx", "zyx", "tyx", "cyx", "tzyx", "czyx", "tcyx", "tczyx"])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_image(kind: str, dims: str, tmp_path: Path) -> None:
    array, path = pixels(dims), tmp_path / kind
    WRITERS[kind](path, array, dims)
    lazy, whole = open_image(path), read_image(path)
    assert "".join(lazy.dims) == "".join(map(str, whole.dims)) == dims
    np.testing.assert_array_equal(whole.values, array)
    planes = np.stack([plane[:, :] for plane in lazy.planes()])
    np.testing.assert_array_equal(planes.reshape(array.shape), array)
    np.testing.assert_array_equal(list(lazy.planes())[-1][3:7, 5:9], planes[-1, 3:7, 5:9])
    known = {axis: length for axis, length in UM.items() if axis in dims}
    if path.suffix in SQUARE:
        known["y"] = UM["x"]
    if path.suffix == ".czi":  # its metadata name it without a stack
        known["z"] = UM["z"]
    assert lazy.pixel_size_um == whole.attrs["pixel_size_um"] == pytest.approx(known)
    names = ("channel 1", "channel 2", "channel 3") if "c" in dims else ()
    assert lazy.channels == names
    assert list(np.atleast_1d(whole.coords.get("c", []))) == list(names)


@pytest.mark.parametrize("dims", ["cyx", "czyx", "tcyx", "tczyx"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_channel_of_every_format_is_that_part_of_the_image(
    kind: str, dims: str, tmp_path: Path
) -> None:
    array, path = pixels(dims), tmp_path / kind
    WRITERS[kind](path, array, dims)
    whole = open_image(path)
    for number in range(3):
        expected = array.take(number, axis=dims.index("c"))
        for choice in (f"{number}", f"channel {number + 1}", f"series=0:{number}"):
            lazy, one = open_image(f"{path}:{choice}"), read_image(f"{path}:{choice}")
            assert "".join(lazy.dims) == "".join(map(str, one.dims)) == dims.replace("c", "")
            np.testing.assert_array_equal(one.values, expected)
            planes = np.stack([plane[2:9, 4:6] for plane in lazy.planes()])
            part = expected[..., 2:9, 4:6]
            np.testing.assert_array_equal(planes.reshape(part.shape), part)
            assert lazy.pixel_size_um == whole.pixel_size_um
            assert (lazy.channel, lazy.channels) == (number, (f"channel {number + 1}",))
            assert str(lazy.source) == one.attrs["source"] == f"{path}:{choice}"
    for wrong in ("3", "ER", "-1", ""):
        with pytest.raises(InputError, match="0 to 2, or a name .channel 1, channel 2, channel 3"):
            open_image(f"{path}:{wrong}")


def refusal(path: Path) -> str:
    """The one line with which both readers refuse a file."""
    lines = []
    for read in (open_image, read_image):
        with pytest.raises(InputError, match=r"\A[^\n]+: [^\n]+; [^\n]+\Z") as error:
            read(path)
        lines.append(str(error.value))
    assert lines[0] == lines[1]
    return lines[0]


# ---------------------------------------------------------------- samples of a pixel


@pytest.mark.parametrize("planar", ["separate", "contig"])
@pytest.mark.parametrize("frames", [1, 2])
def test_samples_are_channels_and_colours_are_refused(
    planar: str, frames: int, tmp_path: Path
) -> None:
    array = np.stack([pixels("cyx", "uint8")] * frames)
    stored = array if planar == "separate" else np.moveaxis(array, 1, -1)
    for name, meaning in (("rgb", "rgb"), ("grey", "minisblack")):
        options: dict[str, Any] = {"photometric": meaning, "planarconfig": planar}
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as tif:
            for part in stored:
                tif.write(part, contiguous=False, metadata=None, **options)
    assert "colour (RGB)" in refusal(tmp_path / "rgb.tif")
    for name, number in (("red", 0), ("green", 1), ("blue", 2)):
        for choice in (name, number):
            chosen = read_image(f"{tmp_path / 'rgb.tif'}:{choice}").values
            np.testing.assert_array_equal(chosen, array[:, number].squeeze())
    lazy, whole = open_image(tmp_path / "grey.tif"), read_image(tmp_path / "grey.tif")
    assert lazy.dims == whole.dims == (("t", "c", "y", "x") if frames > 1 else ("c", "y", "x"))
    expected = array if frames > 1 else array[0]
    np.testing.assert_array_equal(whole.values, expected)
    part = [plane[2:9, 4:6] for plane in lazy.planes()]
    np.testing.assert_array_equal(np.reshape(part, expected[..., 2:9, 4:6].shape),
                                  expected[..., 2:9, 4:6])  # fmt: skip


def test_channels_of_samples_are_channels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(1, 99, (2, 20, 30, 3)).astype(np.uint8)
    metadata = {"axes": "CYXS"}
    tifffile.imwrite(tmp_path / "a.tif", array, metadata=metadata, planarconfig="contig", **GREY)
    image = read_image(tmp_path / "a.tif")
    assert dict(image.sizes) == {"c": 6, "y": 20, "x": 30}
    np.testing.assert_array_equal(image.values, np.moveaxis(array, -1, 1).reshape(6, 20, 30))


# ---------------------------------------------------------------- OME-XML


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"</OME>", b"</OMF>"),
        (b"<Pixels", b"<Pixelt"),
        (b'SizeC="3"', b'SizeC=3" '),
        (b'SizeC="3"', b'SizeC="1"'),
        (b'SizeC="3"', b'SizeC="9"'),
        (b"<TiffData", b"<TifvData"),
        (b'PlaneCount="3"', b'PlaneCount="1"'),
    ],
)
def test_damaged_ome_xml_of_channels_is_refused(old: bytes, new: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    ome(path, pixels("cyx"), "cyx")
    data = path.read_bytes()
    assert data.count(old) >= 1
    path.write_bytes(data.replace(old, new))
    refusal(path)


@pytest.mark.parametrize("old", [b"</OME>", b"<Pixels", b"<TiffData"])
def test_one_plane_is_read_without_its_ome_xml(old: bytes, tmp_path: Path) -> None:
    path, array = tmp_path / "a.ome.tif", pixels("yx")
    ome(path, array, "yx")
    path.write_bytes(path.read_bytes().replace(old, old[:-1] + b"!"))
    np.testing.assert_array_equal(read_image(path).values, array)


@pytest.mark.parametrize("value", [b'"0,25"', b'""    ', b'"x"   ', b'"-1.0"', b'"inf" '])
def test_a_length_that_is_no_number_is_unknown(value: bytes, tmp_path: Path) -> None:
    path, array = tmp_path / "a.ome.tif", pixels("zyx")
    ome(path, array, "zyx")
    data = path.read_bytes()
    assert b'PhysicalSizeY="0.25"' in data
    path.write_bytes(data.replace(b'PhysicalSizeY="0.25"', b"PhysicalSizeY=" + value))
    image = read_image(path)
    np.testing.assert_array_equal(image.values, array)
    assert image.attrs["pixel_size_um"] == {"x": 0.125, "z": 0.5}


@pytest.mark.parametrize("value", [b"0,5", b"   ", b"abc"])
def test_a_spacing_that_is_no_number_is_unknown(value: bytes, tmp_path: Path) -> None:
    path, array = tmp_path / "a.tif", pixels("zyx")
    imagej(path, array, "zyx")
    path.write_bytes(path.read_bytes().replace(b"spacing=0.5", b"spacing=" + value))
    image = read_image(path)
    assert image.dims == ("z", "y", "x")
    np.testing.assert_array_equal(image.values, array)
    assert image.attrs["pixel_size_um"] == pytest.approx({"x": 0.125, "y": 0.25})


@pytest.mark.parametrize("key", ["images", "channels", "slices", "frames"])
@pytest.mark.parametrize("value", ["x", "-1", "0", "1.5", "", "nan"])
def test_a_length_of_imagej_that_is_no_number_leaves_planes_unknown(
    key: str, value: str, tmp_path: Path
) -> None:
    path, planes = tmp_path / "a.tif", pixels("czyx")
    imagej(path, planes, "czyx")
    lines = [x for x in tifffile.tiffcomment(path).split("\n") if not x.startswith(f"{key}=")]
    for array in (planes.swapaxes(0, 1), planes[0, 0]):
        options = {"description": "\n".join([*lines, f"{key}={value}"]), "metadata": None}
        tifffile.imwrite(path, array, **options, **GREY)
        if array.ndim > 2:
            assert f"it has {key}={value})" in refusal(path)
    lines = [line for line in lines if "=" not in line or "ImageJ" in line]
    options["description"] = "\n".join([*lines, f"{key}={value}"])
    tifffile.imwrite(path, planes[0, 0], **options, **GREY)
    np.testing.assert_array_equal(read_image(path).values, planes[0, 0])


@pytest.mark.parametrize(
    "damage", ['"shape": "x"', '"shape": null', '"shape": [20, 30], "axes": 3']
)
def test_a_damaged_description_by_tifffile_harms_one_plane_in_nothing(
    damage: str, tmp_path: Path
) -> None:
    path, planes = tmp_path / "a.tif", pixels("cyx")
    options: dict[str, Any] = {"description": f"{{{damage}}}", "metadata": None}
    tifffile.imwrite(path, planes[0], **options, **GREY)
    np.testing.assert_array_equal(read_image(path).values, planes[0])
    if "20" not in damage:
        tifffile.imwrite(path, planes, **options, **GREY)
        assert "description by tifffile is damaged" in refusal(path)
    options["description"] = f'{{{damage}, "truncated": true}}'  # further planes follow the first
    tifffile.imwrite(path, planes[0], **options, **GREY)
    refusal(path)


def test_a_plane_that_ome_xml_names_and_is_not_there_is_told_plainly(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    ome(path, pixels("cyx"), "cyx")
    text = tifffile.tiffcomment(path)
    image = text[text.index("<Image") : text.index("</Image>")] + "</Image>"
    other = image.replace('IFD="0"', 'IFD="7"').replace(":0", ":1")
    tifffile.tiffcomment(path, text.replace(image, image + other).encode())
    assert "index out of range" in refusal(path) and "Error" not in refusal(path)


@pytest.mark.parametrize("key", ["IFD", "FirstC", "FirstZ"])
def test_planes_of_negative_numbers_are_refused(key: str, tmp_path: Path) -> None:
    """They would be counted from the last plane."""
    path = tmp_path / "a.ome.tif"
    ome(path, pixels("czyx"), "czyx")
    text = tifffile.tiffcomment(path)
    place = 'IFD="0"' if key == "IFD" else "<TiffData"
    new = 'IFD="-1"' if key == "IFD" else f'<TiffData {key}="-1"'
    tifffile.tiffcomment(path, text.replace(place, new).encode())
    refusal(path)


def ome_set(folder: Path, planes: Pixels, axis: str, companion: str = "") -> list[Path]:
    """One plane per file; each file, or one beside them, describes all."""
    folder.mkdir(parents=True)
    paths = [folder / f"{k:03}.ome.tif" for k in range(len(planes))]
    ids = [f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, path.name)}" for path in paths]
    data = "".join(
        f'<TiffData IFD="0" First{axis}="{k}" PlaneCount="1">'
        f'<UUID FileName="{path.name}">{ids[k]}</UUID></TiffData>'
        for k, path in enumerate(paths)
    )
    sizes = "".join(f'Size{a}="{len(planes) if a == axis else 1}" ' for a in "CZT")
    height, width = planes.shape[1:]
    root = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{}">{}</OME>'
    whole = (
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
        f'SizeX="{width}" SizeY="{height}" {sizes}PhysicalSizeX="0.2" PhysicalSizeY="0.2">'
        f"{data}</Pixels></Image>"
    )
    if companion:
        (folder / companion).write_text(root.format("urn:uuid:0", whole))
        whole = f'<BinaryOnly MetadataFile="{companion}" UUID="urn:uuid:0"/>'
    for path, plane, name in zip(paths, planes, ids, strict=True):
        text = root.format(name, whole)
        tifffile.imwrite(path, plane, description=text, metadata=None, **GREY)
    return paths


@pytest.mark.parametrize("companion", ["", "set.companion.ome"])
@pytest.mark.parametrize("axis", ["T", "Z", "C"])
def test_a_file_of_a_set_is_its_own_plane_or_refused(
    axis: str, companion: str, tmp_path: Path
) -> None:
    planes = pixels("zyx")
    paths = ome_set(tmp_path / "set", planes, axis, companion)
    for path, plane in zip(paths, planes, strict=True):
        if axis == "C":
            assert "in other files" in refusal(path)
            continue
        image = read_image(path)
        assert image.dims == open_image(path).dims == ("y", "x")
        np.testing.assert_array_equal(image.values, plane)
        assert image.attrs["pixel_size_um"] == {"x": 0.2, "y": 0.2}
    if companion:
        (tmp_path / "set" / companion).unlink()
        tifffile.imwrite(tmp_path / "b.tif", planes, description=tifffile.tiffcomment(paths[0]),
                         metadata=None, **GREY)  # fmt: skip
        assert "damaged or missing" in refusal(tmp_path / "b.tif")


@pytest.mark.parametrize("companion", ["", "set.companion.ome"])
def test_a_file_of_a_set_that_is_missing_is_named_once(
    companion: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planes = pixels("zyx")
    paths = ome_set(tmp_path / "set", planes, "T", companion)
    with caplog.at_level(logging.WARNING, "denoisplit"):
        read_frames(tmp_path / "set")
        assert not caplog.records
        for path in (paths[2], paths[0]):
            path.unlink()
        assert len(read_frames(tmp_path / "set").images) == 2
        assert len(caplog.records) == 1
        paths[3].unlink()
        renamed = paths[1].rename(tmp_path / "set" / "renamed.ome.tif")  # known by its UUID
        read_image(renamed)
        (whole,) = ome_set(tmp_path / "whole", planes[:1], "T", companion)
        read_image(whole.rename(tmp_path / "whole" / "renamed.ome.tif"))
        assert len(caplog.records) == 2
        if companion:
            (tmp_path / "set" / companion).unlink()
            read_image(renamed)
    lines = [record.getMessage() for record in caplog.records]
    assert "001.ome.tif: 2 of 4 files of this image are missing (000.ome.tif, 002" in lines[0]
    assert "renamed.ome.tif: 3 of 4 files" in lines[1]
    assert not companion or f"its OME-XML is in {companion}, which is missing" in lines[2]


# ---------------------------------------------------------------- pages and encoding


@pytest.mark.parametrize("kind", ["plain", "imagej", "ome"])
@pytest.mark.parametrize("place", [1, 2, 3])
def test_pages_of_another_size_are_refused(kind: str, place: int, tmp_path: Path) -> None:
    """The description is that of four equal pages; one of them has half the size."""
    path = tmp_path / "a.tif"
    options: dict[str, Any] = {
        "plain": {"metadata": None},
        "imagej": {"imagej": True},
        "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    }[kind]
    tifffile.imwrite(path, pixels("zyx"), compression="zlib", **GREY, **options)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[place].tags["ImageLength"].valueoffset
        order = "little" if tif.byteorder == "<" else "big"
    data = bytearray(path.read_bytes())
    data[offset : offset + 2] = (10).to_bytes(2, order)
    path.write_bytes(data)
    refusal(path)


def test_inverted_greys_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels("yx"), photometric="miniswhite")
    assert "inverted" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("compression", "options", "lossless"),
    [
        ("jpeg", {"level": 90}, False),
        ("jpeg", {"lossless": True}, True),
        ("jpeg2000", {"reversible": True}, True),
        ("jpeg2000", {"level": 30, "reversible": False}, False),
        ("jpegxl", {"lossless": True}, True),
        ("jpegxl", {"lossless": False, "distance": 1.0}, False),
        ("jpegxr", {"level": 100}, True),
        ("jpegxr", {"level": 0.8}, False),
        ("lerc", {}, True),
        ("lerc", {"level": 2.0}, False),
        ("zstd", {}, True),
        ("lzma", {}, True),
    ],
)
def test_compression_with_loss_is_refused(
    compression: str,
    options: dict[str, Any],
    lossless: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, array = tmp_path / "a.tif", pixels("yx", "uint8")
    tifffile.imwrite(path, array, compression=compression, compressionargs=options, **GREY)
    if lossless:
        np.testing.assert_array_equal(read_image(path).values, array)
        assert not caplog.records
    else:
        assert "with loss" in refusal(path)


@pytest.mark.parametrize(
    ("colours", "samples"), [("separated", 4), ("cielab", 3), ("cfa", 1), ("palette", 1)]
)
def test_colours_that_are_no_intensities_are_refused(
    colours: Any, samples: int, tmp_path: Path
) -> None:
    array = np.zeros((20, 30, samples), np.uint8).squeeze()
    table = np.random.default_rng(0).integers(0, 2**16, (3, 256)).astype("u2")
    more: dict[str, Any] = {"colormap": table} if colours == "palette" else {}
    tifffile.imwrite(tmp_path / "a.tif", array, photometric=colours, **more)
    for chosen in ("", ":0"):
        assert "expected intensities or RGB" in refusal(Path(f"{tmp_path / 'a.tif'}{chosen}"))


def test_a_table_of_rising_colours_is_of_intensities(tmp_path: Path) -> None:
    array, table = pixels("yx", "uint8"), np.zeros((3, 256), np.uint16)
    table[1] = np.arange(256) * 257  # green, as ImageJ writes a channel of 8 bit
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="palette", colormap=table)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").values, array)


def test_colours_beside_alpha_have_their_names(tmp_path: Path) -> None:
    array = np.arange(20 * 30 * 4, dtype="u2").reshape(20, 30, 4)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    green = read_image(f"{tmp_path / 'a.tif'}:green").values
    np.testing.assert_array_equal(green, array[..., 1])


def test_pages_of_half_size_are_levels_only_if_marked(tmp_path: Path) -> None:
    array = pixels("yx")
    for name, kind in (("a.tif", 0), ("b.tif", 1)):
        with tifffile.TiffWriter(tmp_path / name) as tif:
            tif.write(array, metadata=None, **GREY)
            tif.write(array[::2, ::2], metadata=None, subfiletype=kind, **GREY)
    assert "a.tif:series=0" in refusal(tmp_path / "a.tif")
    for file in (f"{tmp_path / 'a.tif'}:series=0", tmp_path / "b.tif"):
        np.testing.assert_array_equal(read_image(file).values, array)


def test_no_plane_is_left_out_that_imagej_does_not_describe(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    imagej(path, pixels("tzyx"), "tzyx")
    path.write_bytes(path.read_bytes().replace(b"slices=4", b"slices=2"))
    assert "of 4 planes, but there are 8" in refusal(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('SizeC="1"', ""),
        ('SizeC="1"', 'SizeC=""'),
        ('DimensionOrder="XYCZT"', ""),
        ('IFD="0"', 'IFD="a"'),
        ("<OME", "<OMF"),
        ("<?xml", "<&xml"),
    ],
)
def test_damaged_numbers_of_ome_xml_harm_one_plane_only_in_its_scale(
    before: str, after: str, tmp_path: Path
) -> None:
    for dims in ("yx", "zyx"):
        array, path = pixels(dims), tmp_path / "a.ome.tif"
        ome(tmp_path / "b.ome.tif", array, dims)
        text = tifffile.tiffcomment(tmp_path / "b.ome.tif")
        assert before in text
        tifffile.imwrite(
            path, array, metadata=None, description=text.replace(before, after).encode(),
            compression="zlib", **GREY,
        )  # fmt: skip
        if dims == "yx":
            np.testing.assert_array_equal(read_image(path).values, array)
        else:
            assert "OME-XML" in refusal(path)


def test_planes_of_ome_xml_are_different_pages(tmp_path: Path) -> None:
    array, path = pixels("zyx"), tmp_path / "a.ome.tif"
    ome(tmp_path / "b.ome.tif", array, "zyx")
    text = tifffile.tiffcomment(tmp_path / "b.ome.tif")
    one = '<TiffData IFD="0" FirstZ="{}" PlaneCount="1"/>'
    data = "".join(one.format(z) for z in range(4))
    text = re.sub("<TiffData.*?(/>|</TiffData>)", data, text, count=1)
    tifffile.imwrite(path, array, metadata=None, description=text.encode(), **GREY)
    assert "describes 1 of 4 planes" in refusal(path)


@pytest.mark.parametrize(
    ("unit", "per", "expected"),
    [
        ("\\u00b5m", 4, 0.25),  # in small letters
        ("\\u00C5", 1e-3, 0.1),
        ("um", 1e9, None),
        ("um", 1 / 2**31, None),
    ],
)
def test_resolutions_of_imagej(
    unit: str, per: float, expected: float | None, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels("yx"), imagej=True, resolution=(per, per),
                     metadata={"unit": unit})  # fmt: skip
    known = {} if expected is None else {"x": expected, "y": expected}
    assert open_image(tmp_path / "a.tif").pixel_size_um == pytest.approx(known, rel=1e-3)


# ---------------------------------------------------------------- Zarr


@pytest.mark.parametrize("version", [2, 3])
def test_a_level_has_the_axes_of_its_image(version: Any, tmp_path: Path) -> None:
    array = pixels("cyx")
    ngff(tmp_path / "a.zarr", array, "cyx", version)
    for path in (tmp_path / "a.zarr", tmp_path / "a.zarr" / "0"):
        image = read_image(path)
        assert image.dims == open_image(path).dims == ("c", "y", "x")
        assert image.attrs["pixel_size_um"] == {"y": 0.25, "x": 0.125}
        np.testing.assert_array_equal(image.values, array)


@pytest.mark.parametrize("names", ["cyx", ("channel", "Y", "X"), ("time", "y", "x"), "xyc"])
@pytest.mark.parametrize("version", [2, 3])
def test_arrays_name_their_dimensions(version: Any, names: Any, tmp_path: Path) -> None:
    path, array = tmp_path / "a.zarr", pixels("cyx")
    more: dict[str, Any] = {"dimension_names": list(names)}
    if version == 2:
        more = {"attributes": {"_ARRAY_DIMENSIONS": list(names)}}
    stored = array.T if names == "xyc" else array
    made = zarr.create_array(
        str(path), shape=stored.shape, chunks=(2, 9, 2), dtype="u2", zarr_format=version, **more
    )
    made[...] = stored
    image = read_image(path)
    assert image.dims == (("t", "y", "x") if names[0] == "time" else ("c", "y", "x"))
    np.testing.assert_array_equal(image.values, array)


@pytest.mark.parametrize(
    ("inner", "outer", "unit", "expected"),
    [
        ([1, 1, 1], [0.5, 0.25, 0.25], "micrometer", {"z": 0.5, "y": 0.25, "x": 0.25}),
        ([2, 1, 1], [250, 250, 500], "nanometer", {"z": 0.5, "y": 0.25, "x": 0.5}),
        ([1, 1, 1], [1, 2, 2], "angstrom", {"z": 1e-4, "y": 2e-4, "x": 2e-4}),
        ([1, 1, 1], [5e-4, 1e-3, 1e-3], "millimeter", {"z": 0.5, "y": 1, "x": 1}),
        ([1, 1, 1], ["0,5", 0.25, None], "micrometer", {"y": 0.25}),
        ([1, 1, 1], [1, 1, 1], "pixel", {}),
        ([1, 1, 1], [1, 1, 1], None, {}),
        ([1, 1, 1], "path", "micrometer", {}),
    ],
)
def test_all_transformations_and_units_of_ngff(
    inner: Any, outer: Any, unit: Any, expected: dict[str, float], tmp_path: Path
) -> None:
    ngff(tmp_path / "a.zarr", pixels("zyx"), "zyx", 2)
    axes = [{"name": d, "type": "space", "unit": unit} for d in "zyx"]
    move = {"type": "translation", "translation": [9, 9, 9]}
    steps = [{"type": "scale", "scale": inner}, move]
    scales = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}],
              "coordinateTransformations": [{"type": "scale", "scale": outer}]}  # fmt: skip
    zarr.open_group(str(tmp_path / "a.zarr"), mode="r+").attrs["multiscales"] = [scales]
    assert open_image(tmp_path / "a.zarr").pixel_size_um == pytest.approx(expected)


@pytest.mark.parametrize("version", [2, 3])
def test_missing_chunks_are_counted(
    version: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.zarr"
    ngff(path, pixels("zyx"), "zyx", version, side=8)
    folder = path / "0" / "c" if version == 3 else path / "0"
    separator = "/" if version == 3 else "."
    assert len(list(folder.rglob("*"))) >= 4 * 3 * 4
    with caplog.at_level(logging.WARNING, "denoisplit"):
        open_image(path).check()
        assert not caplog.records
        for k in range(3):
            (folder / separator.join(["2", "1", str(k)])).unlink()
        open_image(path).check()
    assert "3 of 48 chunks are missing" in caplog.text
    for part in [*folder.iterdir()]:
        if part.is_dir():
            shutil.rmtree(part)
        elif part.name[0].isdigit():
            part.unlink()
    with pytest.raises(InputError, match="all 48 chunks of this image are missing"):
        read_image(path)


@pytest.mark.parametrize("place", ["start", "end"])
def test_missing_chunks_of_shards_are_counted(
    place: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, array = tmp_path / "a.zarr", pixels("zyx")
    codec = zarr.codecs.ShardingCodec(chunk_shape=(1, 8, 8), index_location=place)
    made = zarr.create_array(
        str(path), shape=array.shape, chunks=(2, 16, 16), serializer=codec, dtype="u2",
        compressors=None, fill_value=0, dimension_names=list("zyx"),
    )  # fmt: skip
    made[...] = array
    with caplog.at_level(logging.WARNING, "denoisplit"):
        open_image(path).check()
        assert not caplog.records
        made[1:3, :8, 16:24] = 0  # two chunks, in two shards, are not written
        np.testing.assert_array_equal(read_image(path).values, made[...])
    assert "2 of 48 chunks are missing" in caplog.text
    made[...] = 0
    with pytest.raises(InputError, match="all 48 chunks of this image are missing"):
        open_image(path).check()


def test_chunks_of_another_separator_are_missing(tmp_path: Path) -> None:
    """Names 0/0/0 where the metadata say 0.0.0: Zarr would read zeros."""
    array, path = pixels("zyx"), tmp_path / "a.zarr"
    made = zarr.create_array(
        str(path), shape=array.shape, chunks=(1, 20, 30), dtype="u2", zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )  # fmt: skip
    made[...] = array
    np.testing.assert_array_equal(read_image(path).values, array)
    metadata = path / ".zarray"
    metadata.write_text(metadata.read_text().replace('"/"', '"."'))
    with pytest.raises(InputError, match="all 4 chunks of this image are missing"):
        read_image(path)


def test_an_axis_that_comes_twice_is_refused(tmp_path: Path) -> None:
    names = list("ccyx")
    made = zarr.create_array(str(tmp_path / "a.zarr"), shape=(2, 2, 9, 9), dtype="u2",
                             dimension_names=names, chunks=(1, 1, 9, 9))  # fmt: skip
    made[...] = 1
    assert "c, c, y, x" in refusal(tmp_path / "a.zarr")
