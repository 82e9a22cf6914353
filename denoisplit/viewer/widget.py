"""Dock widget of napari: choose a run and a layer, split it, and look at the result."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.application import use_app
from magicgui.widgets import (
    ComboBox,
    Container,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
    SpinBox,
)
from napari.layers import Image, Layer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFormLayout, QSizePolicy, QWidget
from superqt.utils import create_worker

from denoisplit.errors import InputError
from denoisplit.viewer.layers import ImageLayer, axes_of

if TYPE_CHECKING:
    import napari

REDRAWN = 100  # ms between updates of the progress bar
WIDTH = 280  # px
MOST = 10_000  # samples
CANCELLED = "cancelled"
LARGEST_SEED = 2**31 - 1  # that the box takes


class Cancelled(Exception):  # noqa: N818
    """The user does not want the result any more."""


class SplitWidget(QWidget):
    """Form to split an image layer; the work is done in a thread."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._worker: Any = None
        self._fraction = 0.0
        self._described = ""
        self._coverages: tuple[float, ...] = ()
        self.run = LineEdit(tooltip="Folder of a trained run, or a package (.zip)")
        self.folder, self.package = PushButton(text="Folder …"), PushButton(text="Package …")
        self.about = Label(value="Choose the folder of a run, or a package.")
        # choices are functions, since layers come and go
        self.image = ComboBox(choices=self._images, tooltip="Superposed image, raw intensities")
        self.axes = ComboBox(choices=self._axes, tooltip="What the dimensions of the layer are")
        self.channel = SpinBox(tooltip="Channel that is split, from 0")
        self.samples = SpinBox(max=MOST, tooltip="Posterior samples; 0: one pass, the quickest")
        self.shown = SpinBox(max=MOST, tooltip="Samples that become layers")
        self.interval = ComboBox(choices=self._levels, tooltip="Share of the truth that it holds")
        self.seed = SpinBox(max=LARGEST_SEED, tooltip="Random seed of the samples")
        self.split, self.cancel = PushButton(text="Split"), PushButton(text="Cancel")
        self.bar = ProgressBar(min=0, max=100)
        self.message = Label(value="")
        self.choose = Container(
            widgets=[self.folder, self.package], layout="horizontal", labels=False
        )
        buttons = Container(widgets=[self.split, self.cancel], layout="horizontal", labels=False)
        for row in (self.choose, buttons):
            row.margins = (0, 0, 0, 0)
        form = QFormLayout(self)
        form.addRow("run", self.run.native)
        form.addRow("", self.choose.native)
        form.addRow(self.about.native)
        for name in ("image", "axes", "channel", "samples", "shown", "interval", "seed"):
            form.addRow(name, getattr(self, name).native)
        form.addRow("", buttons.native)
        form.addRow("progress", self.bar.native)
        form.addRow(self.message.native)
        for label in (self.about.native, self.message.native):  # they do not widen the dock
            label.setWordWrap(True)
            label.setSizePolicy(QSizePolicy.Ignored, QSizePolicy.Minimum)
        self.setMinimumWidth(WIDTH)
        self._timer = QTimer(self)
        self._timer.setInterval(REDRAWN)
        self._timer.timeout.connect(self._redraw)
        self.destroyed.connect(partial(_quit, self))
        self.run.native.editingFinished.connect(self._describe)
        self.folder.clicked.connect(partial(self._choose, "d", None))
        self.package.clicked.connect(partial(self._choose, "r", "*.zip"))
        self.image.changed.connect(self.axes.reset_choices)
        self.axes.changed.connect(self._offer_channels)
        self.split.clicked.connect(self._split)
        self.cancel.clicked.connect(self._cancel)
        self.reset_choices()
        self._set_busy(False)

    def reset_choices(self, _: Any = None) -> None:
        """Take in that layers came or went; napari calls it."""
        self.image.reset_choices()
        self.axes.reset_choices()
        self._offer_channels()

    # -------------------------------------------------------------- choices

    def open(self, path: str) -> None:
        """Choose a run or a package."""
        self.run.value = path
        self._describe()

    def _choose(self, mode: str, kind: str | None) -> None:
        dialog = use_app().get_obj("show_file_dialog")
        if path := dialog(mode, caption="denoiSplit", start_path=self.run.value, filter=kind):
            self.open(str(path))

    def _describe(self) -> None:
        path = self.run.value.strip()
        if path == self._described:
            return
        self._described = path
        self._coverages = ()
        self.interval.reset_choices()
        self.about.value = "reading ..."
        self._start(partial(_described, path), self._show_facts, self._show_no_facts)

    def _show_facts(self, facts: Any) -> None:
        self.about.value = facts.text
        self._coverages = facts.coverages
        self.interval.reset_choices()
        self.interval.value = facts.usual

    def _show_no_facts(self, line: str) -> None:
        self._described = ""  # may be tried again
        self.about.value = line

    def _images(self, _: Any) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _levels(self, _: Any) -> list[tuple[str, float | None]]:
        return [("none", None), *((f"{level:.0%}", level) for level in self._coverages)]

    def _axes(self, _: Any) -> list[str]:
        try:
            return axes_of(self.image.value)
        except InputError:  # which the button shows
            return []

    def _offer_channels(self) -> None:
        axes, layer = self.axes.value or "", self.image.value
        self.channel.enabled = "C" in axes
        self.channel.max = layer.data.shape[axes.index("C")] - 1 if "C" in axes else 0

    # -------------------------------------------------------------- work

    def _split(self) -> None:
        from denoisplit.viewer.splitting import Choices, split_layer

        try:
            source = ImageLayer.of(self.image.value, self.axes.value or "")
        except InputError as error:
            self.message.value = str(error)
            return
        choices = Choices(
            self.run.value.strip(),
            self.channel.value if self.channel.enabled else None,
            self.samples.value,
            self.shown.value,
            self.interval.value,
            self.seed.value,
        )
        self.message.value = ""
        self._start(partial(split_layer, source, choices), self._show, self._refuse)

    def _show(self, result: Any) -> None:
        layers, warnings = result
        for layer in layers:
            self._viewer.add_layer(Layer.create(*layer))
        self.message.value = "\n".join(warnings)

    def _refuse(self, line: str) -> None:
        self.message.value = line

    def _start(
        self,
        work: Callable[[Callable[[float], None]], Any],
        done: Callable[[Any], None],
        refuse: Callable[[str], None],
    ) -> None:
        """Do work in a thread, with a callback for its progress; what it was before is dropped."""
        _quit(self)

        def moved(fraction: float) -> None:
            if worker.abort_requested:  # also when napari is closed
                raise Cancelled
            self._fraction = fraction

        def end(slot: Callable[[Any], None], value: Any = None) -> None:
            if self._worker is worker:
                self._worker = None
                self._set_busy(False)
                slot(value)

        worker = create_worker(work, moved, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(partial(end, done))
        worker.errored.connect(partial(end, lambda error: refuse(_line(error))))
        worker.finished.connect(partial(end, lambda _: refuse(CANCELLED)))  # without either
        self._worker = worker
        self._set_busy(True)
        worker.start()

    def _cancel(self) -> None:
        if self._worker is not None:
            self._worker.quit()
            self.message.value = "cancelling ..."

    def _set_busy(self, busy: bool) -> None:
        for widget in (self.run, self.choose, self.split):
            widget.enabled = not busy
        self.cancel.enabled = busy
        self._timer.start() if busy else self._timer.stop()
        self._fraction = 0.0
        self._redraw()

    def _redraw(self) -> None:
        self.bar.value = round(100 * self._fraction)


def _described(path: str, _: Callable[[float], None]) -> Any:
    from denoisplit.viewer.splitting import describe  # loads torch, here in the thread

    return describe(path)


def _quit(widget: SplitWidget, *_: Any) -> None:
    """Ask the thread to end; nothing is shown of it any more."""
    if widget._worker is not None:
        widget._worker.quit()
        widget._worker = None


def _line(error: Exception) -> str:
    """Return an error as one line."""
    if isinstance(error, Cancelled):
        return CANCELLED
    from denoisplit.commands.failures import plain_error
    from denoisplit.progress import logger

    try:
        return str(plain_error(error))
    except Exception as fault:
        logger.error("this is a fault of denoisplit", exc_info=fault)
        kind = type(fault).__name__
        return f"this is a fault of denoisplit ({kind}: {fault}); the terminal has the details"
