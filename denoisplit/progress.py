"""The one logger and the one progress bar; both speak on standard error."""

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

    def __init__(self, progress: Progress, description: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total)

    def to(self, done: int, description: str | None = None) -> None:
        """Move to ``done`` of the total."""
        if description is None:
            self._progress.update(self._task, completed=done)
        else:
            self._progress.update(self._task, completed=done, description=description)


@contextmanager
def bar(description: str, total: int) -> Iterator[Bar]:
    """A bar with steps done, time passed and time left; silent unless the logger informs."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not logger.isEnabledFor(logging.INFO),
    )
    with progress:
        yield Bar(progress, description, total)
