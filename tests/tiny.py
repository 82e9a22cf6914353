"""Calibrations without what takes most of their time, for rooms whose tests train often."""

from __future__ import annotations

import base64

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


# folders of tests, and modules elsewhere; of README.md all is drawn, see tests/test_docs.py
ROOMS = ("benchmarks", "cli", "commands", "jobs", "kept", "machine", "reproduction")
MODULES = ("test_demo", "test_docs", "test_docs_guide", "test_fit_resumed", "test_kills")
LITTLE = "DENOISPLIT_TESTS_CALIBRATE_LITTLE"  # tells programs of tests/forked.py to do the same

_patches: list[pytest.MonkeyPatch] = []


def calibrate_little(item: pytest.Item) -> None:
    """Patch calibrations in those rooms, before the fixtures of a test, and nowhere else.

    Half of a tiny training are figures of the report, and samples of the mean correction.
    tests/report draws the figures, tests/training/calibration fits corrections. A fixture would
    last until the end: folders of tests are no packages.
    """
    wanted = item.path.parent.name in ROOMS or item.path.stem in MODULES
    if not wanted:
        while _patches:
            _patches.pop().undo()
    elif not _patches:
        _patches.append(patch := pytest.MonkeyPatch())
        patch_calibrations(patch)
        patch.setenv(LITTLE, "1")


def patch_calibrations(patch: pytest.MonkeyPatch) -> None:
    """Patch the calibrations of this process."""
    draw_nothing(patch)
    patch.setattr("denoisplit.report.noise_page.noise_figures", lambda *_, **__: [])
    for name, number in FEWER.items():
        patch.setattr(f"denoisplit.training.calibration.mean_correction.{name}", number)


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Put one pixel in place of each figure of the report of a run."""
    patch.setattr("denoisplit.report.html.png", lambda _: PIXEL)
    for name in FIGURES:
        patch.setattr(f"denoisplit.report.{name}", lambda *_, **__: Figure())
