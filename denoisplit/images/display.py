"""Colours of the structures and display ranges, the same in files, reports, covers and plots."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# light on black in images, dark on white in plots
LIGHTS = ("#ff3df2", "#3dff5a", "#3d9bff", "#ffd23d")
INKS = ("#b3139f", "#15803d", "#1d63c4", "#a16207")
WHITE = "#ffffff"
DISPLAY_PERCENTILES = (0.5, 99.8)


def light(k: int, structures: int) -> str:
    """Return the colour of structure k in images."""
    return WHITE if structures == 1 else LIGHTS[k % len(LIGHTS)]


def ink(k: int) -> str:
    """Return the colour of structure k in a plot."""
    return INKS[k % len(INKS)]


def display_limits(*images: npt.NDArray[Any]) -> tuple[float, float]:
    """Return a display range that clips the few extreme pixels, of those that are finite."""
    values = np.concatenate([np.ravel(image) for image in images])
    values = values if values.dtype.kind != "f" else values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, DISPLAY_PERCENTILES))
    return (low, high) if high > low else (low, low + 1.0)
