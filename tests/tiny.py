"""Calibrations without what takes most of their time, for rooms whose tests train often."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from matplotlib.figure import Figure

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)
FIGURES = (
    "page.calibration_figure", "page.groups_figure", "page.loss_figure",
    "page.noise_models_figure", "page.overview_figure", "page.sparsification_figure",
    "page.structure_figure", "alarm_map.alarm_figure",
)  # fmt: skip
FEWER = {"TRAINED": 2, "COMPARED": 1, "SAMPLES": 2}


@pytest.fixture(scope="package", autouse=True)
def _tiny() -> Iterator[None]:
    """Half of a tiny training are figures of the report, and samples of the mean correction.

    tests/report draws the figures, tests/training/calibration fits corrections.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("denoisplit.report.html.png", lambda _: PIXEL)
        patch.setattr("denoisplit.report.noise_page.noise_figures", lambda *_, **__: [])
        for name in FIGURES:
            patch.setattr(f"denoisplit.report.{name}", lambda *_, **__: Figure())
        for name, number in FEWER.items():
            patch.setattr(f"denoisplit.training.calibration.mean_correction.{name}", number)
        yield
