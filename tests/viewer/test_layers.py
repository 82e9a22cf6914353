"""Layers of napari, here without it: what is read of one, and where the new ones are."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from denoisplit.errors import InputError
from denoisplit.images.display import light
from denoisplit.jobs.array import SplitImage
from denoisplit.viewer.layers import ImageLayer, axes_of, layers_of


def layer_of(*shape: int, labels: tuple[str, ...] = (), **changes: Any) -> Any:
    """An object with the attributes of an image layer of napari."""
    count = len(shape)
    properties: dict[str, Any] = {
        "name": "mixed",
        "data": np.arange(np.prod(shape), dtype=np.float32).reshape(shape),
        "ndim": count,
        "rgb": False,
        "multiscale": False,
        "axis_labels": labels or tuple(str(n) for n in range(-count, 0)),
        "units": ("second", *["micrometer"] * 4)[-count:],
        "scale": np.arange(1, count + 1) / 10,
        "translate": np.arange(count) + 5.0,
        "rotate": np.eye(count),
        "shear": np.zeros(count * (count - 1) // 2),
        "affine": SimpleNamespace(affine_matrix=np.eye(count + 1)),
    }
    return SimpleNamespace(**properties | changes)


def split_of(names: tuple[str, ...] = ("ER", "MT"), samples: int = 2, **sizes: int) -> SplitImage:
    """A split in which every value is its place."""

    def image(*outer: str) -> xr.DataArray:
        lengths = {"sample": samples, "c": len(names), **sizes}
        dims = [dim for dim in ("sample", "t", "c", "z", "y", "x") if dim in (*outer, "c", *sizes)]
        shape = [lengths[dim] for dim in dims]
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        return xr.DataArray(values, {"c": list(names)}, dims, attrs={"run": "er-mt"})

    return SplitImage(image(), image("sample"), image(), image() - 1, image() + 1)


@pytest.mark.parametrize(
    ("labels", "first", "count"),
    [
        (("-2", "-1"), "YX", 1),
        (("-3", "-2", "-1"), "ZYX", 3),
        (("t", "y", "x"), "TYX", 3),
        (("Channel", "-2", "-1"), "CYX", 3),
        (("y", "x", "z"), "YXZ", 4),
        (("-4", "-3", "-2", "-1"), "TZYX", 6),
        (("z", "c", "y", "x"), "ZCYX", 6),
        (("-5", "channel", "-3", "-2", "-1"), "TCZYX", 6),
    ],
)
def test_axes_are_guessed_from_labels(labels: tuple[str, ...], first: str, count: int) -> None:
    choices = axes_of(layer_of(*[4] * len(labels), labels=labels))
    assert choices[0] == first and len(choices) == len(set(choices)) == count
    assert all(set("YX") <= set(axes) <= set("TCZYX") for axes in choices)
    assert all(len(axes) == len(labels) for axes in choices)


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (None, "there is no image layer"),
        (layer_of(8, 8, rgb=True), "mixed: this layer has colours (RGB)"),
        (layer_of(8), "mixed: found 1 dimensions, expected 2 to 5"),
        (layer_of(*[2] * 5, ndim=6), "mixed: found 6 dimensions"),
    ],
)
def test_a_layer_that_is_no_superposed_image_is_refused(layer: Any, problem: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(problem)):
        ImageLayer.of(layer, "YX")


def test_pixels_axes_and_pixel_sizes_of_a_layer_are_taken() -> None:
    pyramid = layer_of(3, 8, 6, units=("second", "nanometer", "micrometer"))
    pixels = pyramid.data
    pyramid.data, pyramid.multiscale = [pixels, pixels[:, ::2, ::2]], True
    image = ImageLayer.of(pyramid, "TYX").image
    np.testing.assert_array_equal(image, pixels)
    assert image.dims == ("t", "y", "x") and image.attrs["source"] == "mixed"
    assert image.attrs["pixel_size_um"] == pytest.approx({"y": 0.0002, "x": 0.3})


def test_results_lie_where_the_layer_lies() -> None:
    """Each dim keeps its scale, also if the channel was between them and samples come first."""
    rotate, affine = np.eye(4), np.eye(5)
    rotate[2:, 2:] = [[0.6, -0.8], [0.8, 0.6]]
    affine[:-1, -1], affine[2, 3] = (1, 2, 3, 4), 0.5
    shear = np.array([0, 0, 0, 0, 0, 0.25])  # of y and x, the last of the upper triangle
    properties = {"rotate": rotate, "shear": shear, "affine": SimpleNamespace(affine_matrix=affine)}
    source = ImageLayer.of(layer_of(3, 2, 8, 6, **properties), "TCYX")
    place = source.place(["t", "y", "x"])
    np.testing.assert_allclose(place["scale"], [0.1, 0.3, 0.4])
    np.testing.assert_allclose(place["translate"], [5, 7, 8])
    np.testing.assert_allclose(place["rotate"][1:, 1:], rotate[2:, 2:])
    np.testing.assert_allclose(place["shear"], [[1, 0, 0], [0, 1, 0.25], [0, 0, 1]])
    np.testing.assert_allclose(place["affine"][:, -1], [1, 3, 4, 1])
    assert place["affine"][1, 2] == 0.5 and place["axis_labels"] == ("t", "y", "x")
    inner = source.place(["sample", "t", "y", "x"])
    assert inner["units"][0] == "pixel" and inner["units"][1:] == place["units"]
    for key, start in (("scale", 1), ("translate", 0)):
        np.testing.assert_allclose(inner[key], [start, *place[key]])
    for key in ("rotate", "shear", "affine"):
        np.testing.assert_allclose(inner[key][1:, 1:], place[key])
        np.testing.assert_allclose(inner[key][0], np.eye(len(inner[key]))[0])


@pytest.mark.parametrize("names", [("ER",), ("ER", "MT"), ("A", "B", "C")])
def test_every_structure_has_its_layers(names: tuple[str, ...]) -> None:
    split = split_of(names, z=2, y=8, x=6)
    layers = layers_of(split, ImageLayer.of(layer_of(2, 8, 6), "ZYX"), 0.9)
    kinds = ("", " error bar", " 90% low", " 90% high", " samples")
    assert [p["name"] for _, p, _ in layers] == [name + kind for kind in kinds for name in names]
    assert all(kind == "image" for _, _, kind in layers)
    assert [p["visible"] for _, p, _ in layers] == [True] * len(names) + [False] * 4 * len(names)
    by_name = {properties["name"]: (values, properties) for values, properties, _ in layers}
    for k, name in enumerate(names):
        values, properties = by_name[name]
        np.testing.assert_array_equal(values, split.mean.sel(c=name))
        assert properties["colormap"] == light(k, len(names))
        assert properties["blending"] == ("additive" if k else "translucent_no_depth")
        low, high = properties["contrast_limits"]
        assert values.min() <= low < high <= values.max()
        for kind in kinds[2:]:
            assert by_name[name + kind][1]["contrast_limits"] == (low, high)
        assert by_name[name + " error bar"][1]["contrast_limits"][0] == 0
        assert by_name[name + " samples"][0].shape == (2, 2, 8, 6)


def test_what_there_is_not_is_no_layer() -> None:
    split = split_of(samples=0, y=8, x=6)
    few = SplitImage(split.mean, split.samples)
    source = ImageLayer.of(layer_of(8, 6), "YX")
    assert [p["name"] for _, p, _ in layers_of(few, source, 0.9)] == ["ER", "MT"]
    assert len(layers_of(split, source, None)) == 4  # without the interval
