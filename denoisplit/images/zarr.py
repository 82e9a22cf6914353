"""Zarr and OME-Zarr: images that are read and written part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from denoisplit.errors import InputError
from denoisplit.images.axes import DIMS, known_lengths, make_image, to_micrometres
from denoisplit.images.lazy import LazyImage, first_line

OME_VERSION = "0.4"  # on Zarr 2: what Fiji, napari and QuPath of today read
COLOURS = ("00FFFF", "FF00FF", "FFFF00", "00FF00", "FF0000", "0000FF")  # of viewers
ABOUT = "denoisplit"  # attribute
# dims of arrays that do not name them, by their number
UNNAMED = {2: ("y", "x"), 3: ("z", "y", "x"), 4: ("t", "z", "y", "x")}
LOOKED_AT = 1024  # px
MARKERS = (".zgroup", ".zarray", "zarr.json")


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return path.is_dir() and any((path / name).is_file() for name in MARKERS)


def open_zarr(path: Path | str) -> LazyImage:
    """Look at a Zarr array, or at the full resolution of an OME-Zarr image.

    Raises
    ------
    InputError
        If the folder is neither, has no plane, or its pixels are no real numbers.
    """
    import zarr

    path = Path(path)
    try:
        found: Any = zarr.open(str(path), mode="r")
    except Exception as error:  # of the metadata, which has many
        raise InputError(
            where=path,
            found=f"no readable Zarr ({first_line(error)})",
            expected="a Zarr array or an OME-Zarr image",
            remedy="copy or write it again",
        ) from None
    if isinstance(found, zarr.Array):
        named: Any = found.metadata.to_dict().get("dimension_names") or ()
        dims = tuple(map(str, named))
        return _checked(path, found, dims or UNNAMED.get(found.ndim, DIMS), (), {})
    attributes = found.attrs.asdict()
    attributes = attributes.get("ome", attributes)
    scales = attributes.get("multiscales") or [{}]
    datasets = scales[0].get("datasets") or []
    if not datasets or str(datasets[0].get("path")) not in found:
        raise InputError(
            where=path,
            found="a Zarr group without an image",
            expected="an OME-Zarr image, or a Zarr array",
            remedy="name the image inside it: the folder with multiscales in its attributes",
        )
    array = found[str(datasets[0]["path"])]
    axes = [a if isinstance(a, dict) else {"name": a} for a in scales[0].get("axes") or ()]
    dims = tuple(str(axis.get("name")) for axis in axes) or UNNAMED.get(array.ndim, DIMS)
    named = [c.get("label") for c in (attributes.get("omero") or {}).get("channels") or ()]
    labels = tuple(map(str, named)) if all(named) else ()
    return _checked(path, array, dims, labels, _pixel_size(axes, datasets[0]))


def _pixel_size(axes: Sequence[dict[str, Any]], dataset: dict[str, Any]) -> dict[str, float]:
    scale: list[float] = []
    for step in dataset.get("coordinateTransformations") or ():
        if step.get("type") == "scale":
            scale = step.get("scale") or []
    if len(scale) != len(axes):
        return {}
    return known_lengths(
        {
            str(axis["name"]): to_micrometres(float(length), str(axis.get("unit", "")))
            for axis, length in zip(axes, scale, strict=True)
            if axis.get("name") in ("z", "y", "x")
        }
    )


def _checked(
    path: Path,
    array: Any,
    dims: tuple[str, ...],
    channels: tuple[str, ...],
    pixel_size_um: dict[str, float],
) -> LazyImage:
    unknown = [dim for dim in dims if dim not in DIMS]
    if len(dims) != array.ndim or unknown or not {"y", "x"} <= set(dims):
        raise InputError(
            where=path,
            found=f"axes {', '.join(dims)} of an array with {array.ndim}",
            expected="y and x, and no others than t, c, z",
            remedy="write it with these axes",
        )
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise InputError(
            where=path,
            found=f"{array.dtype} pixels, shape {array.shape}",
            expected="real numbers, one or more",
            remedy="write the intensities as integers or float32",
        )
    return LazyImage(array, dims, channels, pixel_size_um, path)


def read_zarr(path: Path) -> xr.DataArray:
    """A whole image in memory; see `denoisplit.images.read_image`."""
    image = open_zarr(path)
    return make_image(
        image.pixels(...),
        "".join(image.dims),
        channels=image.channels,
        pixel_size_um=image.pixel_size_um,
        source=path,
    )


def create_ome_zarr(
    path: Path,
    sizes: dict[str, int],
    *,
    channels: Sequence[str],
    chunk: tuple[int, int],
    pixel_size_um: dict[str, float],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Make an OME-Zarr image of float32 to be filled chunk by chunk.

    Parameters
    ----------
    path : Path
    sizes : dict
        Dimension to length, in the order ``t c z y x``.
    channels : sequence of str
        Names, as many as ``sizes["c"]``.
    chunk : tuple of int
        Height and width of a chunk, which holds all channels of one plane. A chunk appears whole.
    pixel_size_um : dict
        Known ones of x, y, z.
    about : mapping, optional
        How it is made; see `about_zarr`.
    """
    import zarr

    kinds = {"t": "time", "c": "channel"}
    axes: list[dict[str, str]] = [{"name": d, "type": kinds.get(d, "space")} for d in sizes]
    for axis in axes:
        if axis["name"] in pixel_size_um:
            axis["unit"] = "micrometer"
    scale = [float(pixel_size_um.get(dim, 1.0)) for dim in sizes]
    group = zarr.create_group(
        str(path),
        zarr_format=2,
        attributes={
            "multiscales": [
                {
                    "version": OME_VERSION,
                    "name": path.name.split(".")[0],
                    "axes": axes,
                    "datasets": [
                        {
                            "path": "0",
                            "coordinateTransformations": [{"type": "scale", "scale": scale}],
                        }
                    ],
                }
            ],
            "omero": {
                "channels": [
                    {
                        "label": name,
                        "color": COLOURS[k % len(COLOURS)],
                        "active": True,
                        "window": _window(0.0, 1.0),
                    }
                    for k, name in enumerate(channels)
                ]
            },
            ABOUT: dict(about or {}),
        },
    )
    of_chunk = {"c": sizes["c"], "y": chunk[0], "x": chunk[1]}
    group.create_array(
        "0",
        shape=tuple(sizes.values()),
        chunks=tuple(of_chunk.get(d, 1) for d in sizes),
        dtype="float32",
        fill_value=float("nan"),  # which no result is: a chunk that is set becomes a file
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )


def _window(darkest: float, brightest: float) -> dict[str, float]:
    return {"min": darkest, "max": brightest, "start": darkest, "end": brightest}


def show_all(path: Path) -> None:
    """Let viewers begin with the range of the middle of a filled image, channel by channel."""
    import zarr

    image, group = open_zarr(path), zarr.open_group(str(path), mode="r+")
    omero: Any = group.attrs["omero"]
    every = image.middle(LOOKED_AT).reshape(len(omero["channels"]), -1)
    for own, channel in zip(every, omero["channels"], strict=True):
        low, high = float(own.min()), float(own.max())
        channel["window"] = _window(low, high if high > low else low + 1)
    group.attrs["omero"] = omero


def about_zarr(path: Path) -> dict[str, Any]:
    """How an image made by `create_ome_zarr` says that it is made; nothing where it does not."""
    import zarr

    found: Any = zarr.open(str(path), mode="r").attrs.asdict().get(ABOUT)
    return dict(found) if isinstance(found, dict) else {}


def to_fill(path: Path) -> Any:
    """The array of an image made by `create_ome_zarr`."""
    import zarr

    return zarr.open_array(str(path / "0"), mode="r+")


def chunk_file(path: Path, chunk: Sequence[int]) -> Path:
    """Where a chunk of such an image lies; it is there when it was set, and whole."""
    return path.joinpath("0", *map(str, chunk))
