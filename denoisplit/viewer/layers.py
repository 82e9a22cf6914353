"""From an image layer to what is split, and from the split to new layers; needs no viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from denoisplit.errors import InputError
from denoisplit.images.display import display_limits, light
from denoisplit.images.lengths import to_micrometres

if TYPE_CHECKING:
    from denoisplit.jobs.array import SplitImage  # whose module loads torch

LayerData = tuple[Any, dict[str, Any], str]  # pixels, properties and kind, as napari has them

SAMPLE = "sample"
LETTERS = {"time": "T", "frame": "T", "channel": "C", "depth": "Z", "plane": "Z", "slice": "Z"}
ERROR_COLOURS = "inferno"
MOST_PIXELS = 2**20  # from which a display range is measured


@dataclass(frozen=True)
class ImageLayer:
    """Pixels of an image layer, and where they are in the world.

    Attributes
    ----------
    image : DataArray
        Dims out of ``t c z y x``, in the order of the layer.
    scale, translate : array (D,)
    rotate, shear, affine : array (D, D)
        Linear parts of the transformation, in the order of these dims.
    offset : array (D,)
        Translation of ``affine``.
    units : tuple
        Of the dims, as napari has them.
    """

    image: xr.DataArray
    scale: npt.NDArray[np.float64]
    translate: npt.NDArray[np.float64]
    rotate: npt.NDArray[np.float64]
    shear: npt.NDArray[np.float64]
    affine: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    units: tuple[Any, ...]

    @classmethod
    def of(cls, layer: Any, axes: str) -> ImageLayer:
        """Take an image layer of napari; of a multiscale one the full resolution.

        Parameters
        ----------
        layer : napari.layers.Image
        axes : str
            A letter of TCZYX for each dimension.

        Raises
        ------
        InputError
            If there is none, or its pixels are colours.
        """
        axes_of(layer)  # raises
        dims = list(axes.lower())
        scale, units = np.asarray(layer.scale, float), tuple(layer.units)
        sizes = {
            dim: size
            for dim, step, unit in zip(dims, scale, units, strict=True)
            if dim in "zyx" and (size := to_micrometres(abs(step), str(unit))) is not None
        }
        shear = np.asarray(layer.shear, float)
        if shear.ndim == 1:  # the upper triangle
            shear, upper = np.eye(len(dims)), shear
            shear[np.triu_indices(len(dims), 1)] = upper
        affine = np.asarray(layer.affine.affine_matrix, float)
        attrs = {"source": layer.name, "pixel_size_um": sizes}
        return cls(
            xr.DataArray(_pixels(layer), dims=dims, attrs=attrs),
            scale,
            np.asarray(layer.translate, float),
            np.asarray(layer.rotate, float),
            shear,
            affine[:-1, :-1],
            affine[:-1, -1],
            units,
        )

    def place(self, dims: Sequence[str]) -> dict[str, Any]:
        """Return where a result of some of these dims is, as properties of a layer."""
        old = [self.image.dims.index(dim) for dim in dims if dim != SAMPLE]
        new = [place for place, dim in enumerate(dims) if dim != SAMPLE]

        def vector(values: npt.NDArray[np.float64], other: float) -> npt.NDArray[np.float64]:
            chosen = np.full(len(dims), other)
            chosen[new] = values[old]
            return chosen

        def matrix(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            chosen = np.eye(len(dims))
            chosen[np.ix_(new, new)] = values[np.ix_(old, old)]
            return chosen

        affine = np.eye(len(dims) + 1)
        affine[:-1, :-1], affine[:-1, -1] = matrix(self.affine), vector(self.offset, 0.0)
        units = ["pixel"] * len(dims)
        for at, place in zip(new, old, strict=True):
            units[at] = self.units[place]
        return {
            "scale": vector(self.scale, 1.0),
            "translate": vector(self.translate, 0.0),
            "rotate": matrix(self.rotate),
            "shear": matrix(self.shear),
            "affine": affine,
            "units": tuple(units),
            "axis_labels": tuple(dims),
        }


def axes_of(layer: Any) -> list[str]:
    """Return what the axes of an image layer may be, the likeliest first.

    Raises
    ------
    InputError
        If there is no layer, its pixels are colours, or it has too many or too few dimensions.
    """
    if layer is None:
        raise InputError("there is no image layer", remedy="open an image in napari")
    if layer.rgb:
        raise InputError(
            "this layer has colours (RGB), expected the intensities of one superposed image",
            where=layer.name,
            remedy="split it with Layers > Visualize > Split RGB, and choose one of the three",
        )
    if not 2 <= layer.ndim <= 5:
        raise InputError(
            where=layer.name,
            found=f"{layer.ndim} dimensions",
            expected="2 to 5, out of T, C, Z, Y and X",
            remedy="choose another layer, or a part of this one",
        )
    named = [str(label).lower() for label in layer.axis_labels]
    letters = [LETTERS.get(name, name.upper()) for name in named]
    outer = "ZTC" if layer.ndim == 3 else "TZC"  # the likeliest first
    choices = ["".join(chosen) + "YX" for chosen in permutations(outer, layer.ndim - 2)]
    choices.sort(key=lambda axes: -sum(a == b for a, b in zip(axes, letters, strict=True)))
    if len(set(letters)) == layer.ndim and {"Y", "X"} <= set(letters) <= set("TCZYX"):
        choices = list(dict.fromkeys(["".join(letters), *choices]))
    return choices


def layers_of(split: SplitImage, source: ImageLayer, level: float | None) -> list[LayerData]:
    """Return the layers of a split; those of the means come first, and are visible.

    Parameters
    ----------
    split : SplitImage
    source : ImageLayer
        What was split.
    level : float or None
        Coverage of the interval; None for no layers of it.
    """
    names = [str(name) for name in split.mean["c"].values]
    limits = [display_limits(_thinned(split.mean.sel(c=name))) for name in names]
    layers: list[LayerData] = []

    def add(kind: str, values: xr.DataArray | None, **properties: Any) -> None:
        if values is None or not values.size:
            return
        for k, name in enumerate(names):
            image = values.sel(c=name)
            shown: dict[str, Any] = {
                "name": f"{name} {kind}".strip(),
                "colormap": light(k, len(names)),
                "contrast_limits": limits[k],
                "blending": "translucent_no_depth",
                "visible": not kind,
                "metadata": {"denoisplit": dict(values.attrs)},
            }
            place = source.place([str(dim) for dim in image.dims])
            layers.append((image.values, {**shown, **place, **properties}, "image"))

    add("", split.mean)
    for _, properties, _ in layers[1:]:
        properties["blending"] = "additive"  # a composite
    if split.std is not None:
        _, top = display_limits(_thinned(split.std))
        add("error bar", split.std, colormap=ERROR_COLOURS, contrast_limits=(0.0, top))
    if level is not None:
        add(f"{level:.0%} low", split.low)
        add(f"{level:.0%} high", split.high)
    add("samples", split.samples)
    return layers


def _pixels(layer: Any) -> Any:
    return layer.data[0] if layer.multiscale else layer.data


def _thinned(image: xr.DataArray) -> npt.NDArray[np.float32]:
    """Return evenly spread pixels of an image."""
    pixels = image.values.ravel()
    thinned: npt.NDArray[np.float32] = pixels[:: max(1, pixels.size // MOST_PIXELS)]
    return thinned
