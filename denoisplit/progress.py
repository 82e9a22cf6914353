"""Logger and progress bars, both on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.progress import Progress

logger = logging.getLogger("denoisplit")


class StandardError:
    """Standard error at present; that it is closed or full does not end the work."""

    @property
    def stream(self) -> Any:
        """The stream itself, also while a bar has taken its place; None if it was closed."""
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    def write(self, text: str) -> int:
        """Write a text, if possible."""
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        with suppress(OSError, ValueError, AttributeError):
            self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write what is held back, if possible."""
        with suppress(OSError, ValueError, AttributeError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Bar:
    """Progress bar of one stage."""

    def __init__(
        self, progress: Progress, description: str, total: int, overall: Stages | None = None
    ) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total)
        self._description, self._total, self._overall = description, total, overall

    def to(self, done: int, description: str | None = None) -> None:
        """Move to ``done`` of the total."""
        if self._overall is not None:
            self._overall.advance(self._description, done / max(1, self._total))
        self._progress.update(self._task, completed=done, description=description)

    def close(self) -> None:
        """Remove the bar from the screen."""
        self._progress.remove_task(self._task)


class Stages:
    """Progress bar over several stages, which the bars of the stages advance."""

    def __init__(self, progress: Progress, description: str, total: float) -> None:
        self.progress = progress
        self._task = progress.add_task(description, total=total)
        self._before, self._weight, self._counts = 0.0, 0.0, ""

    @property
    def done(self) -> float:
        """Weight of all finished stages, and of the finished share of the current one."""
        return float(self.progress.tasks[0].completed)

    def stage(self, description: str, weight: float, *, counts: str = "") -> None:
        """Begin a stage, which ends the previous one.

        Parameters
        ----------
        description : str
        weight : float
            Share of the total.
        counts : str
            Description of the bar that measures this stage.
        """
        self._before += self._weight
        self._weight, self._counts = weight, counts
        self.progress.update(self._task, completed=self._before, description=description)

    def advance(self, name: str, share: float) -> None:
        """Take in the finished share of a bar within the current stage."""
        if name == self._counts:
            self.progress.update(self._task, completed=self._before + self._weight * share)


_stages: list[Stages] = []  # the open bars over several stages, innermost last


@contextmanager
def stages(description: str, total: float) -> Iterator[Stages]:
    """Show a bar over several stages; bars that are opened within the block appear below it.

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
    """Show a bar with steps, time passed and time left, unless the logger is quieter than INFO."""
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
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(file=cast(IO[str], StandardError())),
        disable=not logger.isEnabledFor(logging.INFO),
    )
