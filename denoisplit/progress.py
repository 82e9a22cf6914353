"""The one logger and the one progress bar; both speak on standard error.

Work of many stages has a bar of its own above that of the stage at work, see `stages`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

logger = logging.getLogger("denoisplit")


class Bar:
    """A running progress bar."""

    def __init__(
        self, progress: Progress, description: str, total: int, whole: Stages | None = None
    ) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total)
        self._description, self._total, self._whole = description, total, whole

    def to(self, done: int, description: str | None = None) -> None:
        """Move to ``done`` of the total."""
        if self._whole is not None:
            self._whole.within(self._description, done / max(1, self._total))
        if description is None:
            self._progress.update(self._task, completed=done)
        else:
            self._progress.update(self._task, completed=done, description=description)

    def close(self) -> None:
        """Take it from the screen."""
        self._progress.remove_task(self._task)


class Stages:
    """The bar of work of several stages, whose own bars move it on."""

    def __init__(self, progress: Progress, description: str, total: float) -> None:
        self.progress = progress
        self._task = progress.add_task(description, total=total)
        self._before, self._weight, self._counts = 0.0, 0.0, ""

    @property
    def done(self) -> float:
        """Weights of all stages so far, and the share of the one at work."""
        return float(self.progress.tasks[0].completed)

    def stage(self, description: str, weight: float, *, counts: str = "") -> None:
        """Begin a stage, which ends the one before.

        Parameters
        ----------
        description : str
        weight : float
            Its share of the total.
        counts : str
            Name of the bar that tells how far this stage is.
        """
        self._before += self._weight
        self._weight, self._counts = weight, counts
        self.progress.update(self._task, completed=self._before, description=description)

    def within(self, name: str, share: float) -> None:
        """A bar of this name is so far."""
        if name == self._counts:
            self.progress.update(self._task, completed=self._before + self._weight * share)


_stages: list[Stages] = []  # none, or the one that is at work


@contextmanager
def stages(description: str, total: float) -> Iterator[Stages]:
    """A bar over several stages; bars that are opened within stand below it.

    Parameters
    ----------
    description : str
    total : float
        Sum of the weights of all stages.
    """
    with _progress() as progress:
        _stages.append(Stages(progress, description, total))
        try:
            yield _stages[-1]
        finally:
            _stages.pop()


@contextmanager
def bar(description: str, total: int) -> Iterator[Bar]:
    """A bar with steps done, time passed and time left; silent unless the logger informs."""
    if _stages:
        inner = Bar(_stages[-1].progress, description, total, _stages[-1])
        try:
            yield inner
        finally:
            inner.close()
        return
    with _progress() as progress:
        yield Bar(progress, description, total)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not logger.isEnabledFor(logging.INFO),
    )
