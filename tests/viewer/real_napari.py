"""The plugin in the real napari, by its own buttons; `make napari` runs it on a virtual screen.

It is not collected by `make test`, whose environment has no Qt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pytest
from npe2 import PluginManifest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

import denoisplit
from denoisplit.images.display import light

from ..packaging.conftest import package as package
from .conftest import VERDICTS
from .test_layers import layer_of

PIXELS = np.random.default_rng(0).uniform(20, 100, (2, 2, 64, 48)).astype(np.float32)
LIMIT = 60.0  # s


def wait(until: Callable[[], bool]) -> int:
    """Let napari work; return how often it came to handle events."""
    start, turns = time.monotonic(), 0
    while not until():
        QApplication.processEvents()
        time.sleep(0.002)
        turns += 1
        assert time.monotonic() - start < LIMIT
    return turns


@pytest.fixture
def viewer() -> Iterator[napari.Viewer]:
    viewer = napari.Viewer(show=False)
    yield viewer
    viewer.close()


@pytest.fixture
def widget(viewer: napari.Viewer) -> Any:
    return viewer.window.add_plugin_dock_widget("denoisplit", "Split an image")[1]


def idle(widget: Any) -> int:
    return wait(lambda: widget._worker is None)


def choose(widget: Any, run: Path | str) -> None:
    """Type the path of a run."""
    widget.run.native.setText(str(run))
    widget.run.native.editingFinished.emit()
    idle(widget)


def click(button: Any) -> None:
    assert button.native.isEnabled()
    button.native.click()


def test_napari_finds_the_plugin() -> None:
    manifest = PluginManifest.from_distribution("denoisplit")
    manifest.validate_imports()
    assert [w.display_name for w in manifest.contributions.widgets] == ["Split an image"]


def test_a_channel_of_a_stack_is_split(
    viewer: napari.Viewer, widget: Any, mapped_folder: Path
) -> None:
    scale, translate, units = (2, 1, 0.1, 0.2), (0, 0, 5, 7), ("s", "pixel", "um", "um")
    viewer.add_image(PIXELS, name="mixed", scale=scale, translate=translate, units=units)
    choose(widget, mapped_folder)
    assert widget.about.value.splitlines()[1:] == VERDICTS
    assert widget.interval.value == 0.9 and not widget.channel.enabled
    widget.axes.value = "TCYX"
    assert widget.channel.enabled and widget.channel.max == 1
    widget.channel.value, widget.samples.value, widget.shown.value = 1, 2, 2
    widget.interval.value = 0.5
    click(widget.split)
    idle(widget)
    split = denoisplit.load(mapped_folder).predict(
        PIXELS[:, 1], "TYX", samples=2, keep_samples=2, interval=0.5
    )
    kinds = {
        "": split.mean,
        " error bar": split.std,
        " 50% low": split.low,
        " 50% high": split.high,
        " samples": split.samples,
    }
    names = [layer.name for layer in viewer.layers]
    assert names == ["mixed", *(name + kind for kind in kinds for name in ("ER", "MT"))]
    for kind, array in kinds.items():
        for k, name in enumerate(("ER", "MT")):
            layer, first = viewer.layers[name + kind], int(kind == " samples")
            np.testing.assert_array_equal(layer.data, array.sel(c=name))
            np.testing.assert_allclose(layer.scale[first:], (2, 0.1, 0.2))
            np.testing.assert_allclose(layer.translate[first:], (0, 5, 7))
            assert [str(unit) for unit in layer.units[first:]] == [
                "second",
                "micrometer",
                "micrometer",
            ]
            assert layer.visible == (kind == "")
            if kind != " error bar":
                last = layer.colormap.colors[-1]
                assert "#" + "".join(f"{round(255 * c):02x}" for c in last[:3]) == light(k, 2)
    assert widget.message.value.startswith("2 samples: the mean is noisier")
    assert widget.image.value is viewer.layers["mixed"] and widget.axes.value == "TCYX"
    assert widget.split.enabled and not widget.cancel.enabled


def test_napari_works_on_meanwhile_and_the_work_is_cancelled(
    viewer: napari.Viewer, widget: Any, run_folder: Path
) -> None:
    viewer.add_image(np.tile(PIXELS[0, 0], (8, 8)))
    choose(widget, run_folder)
    widget.samples.value = 2000
    click(widget.split)
    assert not widget.split.enabled and not widget.run.enabled
    assert wait(lambda: widget.bar.value > 0) > 3  # events were handled in the meantime
    click(widget.cancel)
    start = time.monotonic()
    idle(widget)
    assert time.monotonic() - start < 20 and widget.message.value == "cancelled"
    assert len(viewer.layers) == 1 and widget.split.enabled and widget.bar.value == 0


def test_what_comes_of_a_closed_dock_is_dropped(
    viewer: napari.Viewer, widget: Any, run_folder: Path
) -> None:
    viewer.add_image(PIXELS[0, 0])
    choose(widget, run_folder)
    widget.samples.value = 2000
    click(widget.split)
    worker = widget._worker
    wait(lambda: worker.is_running)
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.DeferredDelete)  # as a running event loop does
    wait(lambda: worker.abort_requested and not worker.is_running)
    assert len(viewer.layers) == 1


def test_a_package_takes_the_place_of_a_run(
    viewer: napari.Viewer, widget: Any, package: Path
) -> None:
    viewer.add_image([PIXELS[0, 0], PIXELS[0, 0, ::2, ::2]], multiscale=True)
    choose(widget, package)
    assert widget.about.value.startswith("denoiSplit of the sum of ER and MT.\n")
    widget.samples.value = 2
    click(widget.split)
    idle(widget)
    assert viewer.layers["ER"].data.shape == (64, 48) and "ER error bar" in viewer.layers


def test_mistakes_are_one_line_in_the_widget(
    viewer: napari.Viewer, widget: Any, run_folder: Path
) -> None:
    click(widget.split)
    idle(widget)
    assert widget.message.value == "there is no image layer; open an image in napari"
    viewer.add_image(np.zeros((32, 32, 3), np.uint8), rgb=True, name="colours")
    click(widget.split)
    assert widget.message.value.startswith("colours: this layer has colours (RGB)")
    viewer.add_image(PIXELS[0, 0], name="mixed")
    widget.image.value = viewer.layers["mixed"]
    click(widget.split)
    idle(widget)
    assert widget.message.value.startswith("no run is chosen")
    choose(widget, run_folder.parent)
    assert "this folder holds no config.yaml" in widget.about.value
    choose(widget, run_folder)
    widget.shown.value = 3
    click(widget.split)
    idle(widget)
    assert widget.message.value.startswith("keep_samples: found 3, expected 0 to 0")
    assert [layer.name for layer in viewer.layers] == ["colours", "mixed"]


def test_the_stand_in_for_a_layer_has_what_a_layer_has() -> None:
    """The quick tests use it in place of one."""
    layer, stand_in = napari.layers.Image(PIXELS[0]), layer_of(2, 64, 48)
    assert layer.affine.affine_matrix.shape == stand_in.affine.affine_matrix.shape
    for name, value in vars(stand_in).items():
        assert name == "affine" or np.shape(getattr(layer, name)) == np.shape(value), name
