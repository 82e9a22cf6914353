"""Zarr and OME-Zarr: images that are read and written part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from denoisplit.errors import InputError
from denoisplit.images.axes import DIMS, known_lengths, make_image, to_micrometres

OME_VERSION = "0.4"  # on Zarr 2: what Fiji, napari and QuPath of today read
COLOURS = ("00FFFF", "FF00FF", "FFFF00", "00FF00", "FF0000", "0000FF")  # of viewers
MARKERS = (".zgroup", ".zarray", "zarr.json")


@dataclass(frozen=True)
class LazyImage:
    """An image on disk.

    Attributes
    ----------
    array : zarr.Array
        Full resolution; one dimension per entry of `dims`.
    dims : tuple of str
        Out of ``t c z y x``, in the order of the file.
    channels : tuple of str
        Names, where the file gives one for each channel.
    pixel_size_um : dict
        Known ones of x, y, z.
    source : Path
    """

    array: Any
    dims: tuple[str, ...]
    channels: tuple[str, ...]
    pixel_size_um: dict[str, float]
    source: Path

    @property
    def sizes(self) -> dict[str, int]:
        """Dimension to length."""
        return dict(zip(self.dims, self.array.shape, strict=True))

    def plane(self, index: dict[str, int]) -> Plane:
        """One (Y, X) plane, read where it is looked at; dims that are not named have length 1."""
        return Plane(self, index)


class Plane:
    """A plane of an image on disk, sliced as an array is."""

    def __init__(self, image: LazyImage, index: dict[str, int]) -> None:
        self.image = image
        self.index = index
        sizes = image.sizes
        self.shape = (sizes["y"], sizes["x"])

    def __getitem__(self, where: Any) -> Any:
        """Pixels of a pair of slices.

        Raises
        ------
        InputError
            If a chunk is damaged, or a pixel is no finite number.
        """
        y, x = where
        ends = {"y": y, "x": x}
        key = tuple(ends.get(dim, self.index.get(dim, 0)) for dim in self.image.dims)
        part = _pixels(self.image, key)
        if self.image.dims.index("x") < self.image.dims.index("y"):
            part = part.T
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            raise InputError(
                self.image.source, f"NaN or infinite pixels near y {y.start or 0}, x "
                f"{x.start or 0}", "finite numbers", "crop or fill those pixels",
            )  # fmt: skip
        return part


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
            path, f"no readable Zarr ({_first_line(error)})", "a Zarr array or an OME-Zarr image",
            "copy or write it again",
        ) from None  # fmt: skip
    if isinstance(found, zarr.Array):
        named: Any = found.metadata.to_dict().get("dimension_names") or ()
        dims = tuple(map(str, named))
        return _checked(path, found, dims or DIMS[-found.ndim :], (), {})
    attributes = found.attrs.asdict()
    attributes = attributes.get("ome", attributes)
    scales = attributes.get("multiscales") or [{}]
    datasets = scales[0].get("datasets") or []
    if not datasets or str(datasets[0].get("path")) not in found:
        raise InputError(
            path, "a Zarr group without an image", "an OME-Zarr image, or a Zarr array",
            "name the image inside it: the folder with multiscales in its attributes",
        )  # fmt: skip
    array = found[str(datasets[0]["path"])]
    axes = [a if isinstance(a, dict) else {"name": a} for a in scales[0].get("axes") or ()]
    dims = tuple(str(axis.get("name")) for axis in axes) or DIMS[-array.ndim :]
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
    path: Path, array: Any, dims: tuple[str, ...], channels: tuple[str, ...],
    pixel_size_um: dict[str, float],
) -> LazyImage:  # fmt: skip
    unknown = [dim for dim in dims if dim not in DIMS]
    if len(dims) != array.ndim or unknown or not {"y", "x"} <= set(dims):
        raise InputError(
            path, f"axes {', '.join(dims)} of an array with {array.ndim}",
            "y and x, and no others than t, c, z", "write it with these axes",
        )  # fmt: skip
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise InputError(
            path, f"{array.dtype} pixels, shape {array.shape}", "real numbers, one or more",
            "write the intensities as integers or float32",
        )  # fmt: skip
    return LazyImage(array, dims, channels, pixel_size_um, path)


def read_zarr(path: Path) -> xr.DataArray:
    """A whole image in memory; see `denoisplit.images.read_image`."""
    image = open_zarr(path)
    return make_image(
        _pixels(image, ...), "".join(image.dims), channels=image.channels,
        pixel_size_um=image.pixel_size_um, source=path,
    )  # fmt: skip


def _pixels(image: LazyImage, key: Any) -> npt.NDArray[Any]:
    """A part of an image, or of which file something is damaged."""
    try:
        return np.asarray(image.array[key])
    except Exception as error:  # of the codec, the store, or the disk
        raise InputError(
            image.source, f"a chunk that cannot be read ({_first_line(error)})", "a whole image",
            "copy or write it again",
        ) from None  # fmt: skip


def create_ome_zarr(
    path: Path, sizes: dict[str, int], *, channels: Sequence[str], chunk: tuple[int, int],
    pixel_size_um: dict[str, float], brightest: float = 255.0,
) -> None:  # fmt: skip
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
    brightest : float
        Intensity that viewers show as the brightest, to begin with.
    """
    import zarr

    kinds = {"t": "time", "c": "channel"}
    axes: list[dict[str, str]] = [{"name": d, "type": kinds.get(d, "space")} for d in sizes]
    for axis in axes:
        if axis["name"] in pixel_size_um:
            axis["unit"] = "micrometer"
    scale = [float(pixel_size_um.get(dim, 1.0)) for dim in sizes]
    group = zarr.create_group(
        str(path), zarr_format=2,
        attributes={
            "multiscales": [
                {
                    "version": OME_VERSION, "name": path.name.split(".")[0], "axes": axes,
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
                        "label": name, "color": COLOURS[k % len(COLOURS)], "active": True,
                        "window": {"min": 0.0, "max": 65535.0, "start": 0.0, "end": brightest},
                    }
                    for k, name in enumerate(channels)
                ]
            },
        },
    )  # fmt: skip
    of_chunk = {"c": sizes["c"], "y": chunk[0], "x": chunk[1]}
    group.create_array(
        "0", shape=tuple(sizes.values()), chunks=tuple(of_chunk.get(d, 1) for d in sizes),
        dtype="float32",
        fill_value=float("nan"),  # which no result is: a chunk that is set becomes a file
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )  # fmt: skip


def to_fill(path: Path) -> Any:
    """The array of an image made by `create_ome_zarr`."""
    import zarr

    return zarr.open_array(str(path / "0"), mode="r+")


def chunk_file(path: Path, chunk: Sequence[int]) -> Path:
    """Where a chunk of such an image lies; it is there when it was set, and whole."""
    return path.joinpath("0", *map(str, chunk))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
