"""Logger and progress bars, both on standard error."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.progress import Progress

logger = logging.getLogger("denoisplit")
REDRAWN = 0.2  # s between updates of a bar in a notebook
MEASURED = 3.0  # s of work from which the time of all of it is estimated
LONG = 60.0  # s, of work whose time is worth a line

_hidden: ContextVar[bool] = ContextVar("hidden", default=False)  # whether no bars are shown


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
        self,
        progress: Progress,
        description: str,
        total: int,
        overall: Stages | None = None,
        after: tuple[str, float] = ("", 0.0),
    ) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total)
        self._description, self._total, self._overall = description, total, overall
        self._after = after
        self._first: tuple[float, float] | None = None  # time and place of the first move
        self._estimated = False

    def to(self, done: float, description: str | None = None) -> None:
        """Move to ``done`` of the total; the log has one line about the time of long work."""
        self._estimate(done)
        if self._overall is not None:
            self._overall.advance(self._description, done / max(1, self._total))
        self._progress.update(self._task, completed=done, description=description)

    def _estimate(self, done: float) -> None:
        """Log once how long all of it will take; the first move, which may warm up, is left out."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        begin, before = self._first
        if self._estimated or done <= before or now - begin < MEASURED:
            return
        self._estimated = True
        each = (now - begin) / (done - before)
        left, then = (self._total - done) * each, self._after[1] * each
        if left + then > LONG:
            text = f"{self._description}: about {duration(left)} left"
            more = f", then about {duration(then)} of {self._after[0]}"
            logger.info("%s%s", text, more * (then > LONG / 2))

    def close(self) -> None:
        """Remove the bar from the screen."""
        self._progress.remove_task(self._task)


class Stages:
    """Progress bar over several stages, which the bars of the stages advance."""

    def __init__(
        self,
        progress: Progress,
        description: str,
        total: float,
        plan: Mapping[str, float],
        overall: Stages | None,
    ) -> None:
        self.progress = progress
        self.task = progress.add_task(description, total=total)
        self._description, self._total, self._overall = description, total, overall
        self._plan = dict(plan)
        self._before, self._weight, self._counts = 0.0, 0.0, ""

    @property
    def done(self) -> float:
        """Weight of all finished stages, and of the finished share of the current one."""
        return next(float(t.completed) for t in self.progress.tasks if t.id == self.task)

    def open(self, name: str) -> None:
        """Begin the stage of a bar, if it is one of those planned."""
        if name in self._plan:
            self.stage(self._description, self._plan.pop(name), counts=name)

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
        self.progress.update(self.task, completed=self._before, description=description)

    def advance(self, name: str, share: float) -> None:
        """Take in the finished share of a bar within the current stage."""
        if name == self._counts:
            self.progress.update(self.task, completed=self._before + self._weight * share)
            if self._overall is not None:
                self._overall.advance(self._description, self.done / self._total)


_stages: list[Stages] = []  # the open bars over several stages, innermost last


def duration(seconds: float) -> str:
    """Return a time of more than a minute in words, rounded."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.3g} h"


@contextmanager
def stages(
    description: str, total: float | None = None, plan: Mapping[str, float] | None = None
) -> Iterator[Stages]:
    """Show a bar over several stages; bars that are opened within the block appear below it.

    Parameters
    ----------
    description : str
    total : float, optional
        Sum of the weights of all stages.
    plan : mapping of str to float, optional
        Weights of bars that are stages of their own, by their description.
    """
    plan, overall = plan or {}, _stages[-1] if _stages else None
    total = sum(plan.values()) if total is None else total
    with nullcontext(overall.progress) if overall is not None else _progress() as progress:
        _stages.append(Stages(progress, description, total, plan, overall))
        try:
            yield _stages[-1]
        finally:
            progress.remove_task(_stages.pop().task)


@contextmanager
def progress_shown(shown: bool) -> Iterator[None]:
    """Show no bars within the block, unless ``shown``; in a block without bars there are none."""
    token = _hidden.set(_hidden.get() or not shown)
    try:
        yield
    finally:
        _hidden.reset(token)


@contextmanager
def bar(description: str, total: int, *, after: tuple[str, float] = ("", 0.0)) -> Iterator[Bar]:
    """Show a bar with steps, time passed and time left.

    What comes ``after``, and how much of the total it takes as long as, is part of the line on the
    time of long work.

    In a terminal or a notebook it is shown unless the logger was made quieter than INFO; elsewhere
    only if the logger takes INFO. See also `progress_shown`.
    """
    if _stages:
        _stages[-1].open(description)
        inner = Bar(_stages[-1].progress, description, total, _stages[-1], after)
        try:
            yield inner
        finally:
            inner.close()
        return
    with _progress() as progress:
        yield Bar(progress, description, total, after=after)


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

    class InNotebook(Progress):
        """Progress bars in the output of a notebook's cell, which need no widgets there."""

        handle: Any = None
        drawn = 0.0

        def start(self) -> None:
            if not self.disable:
                self.handle = import_module("IPython.display").display(self, display_id=True)

        def update(self, *arguments: Any, **values: Any) -> None:
            super().update(*arguments, **values)
            if time.monotonic() - self.drawn > REDRAWN:
                self.refresh()

        def refresh(self) -> None:
            if self.handle is not None:
                self.handle.update(self)
                self.drawn = time.monotonic()

        def stop(self) -> None:
            self.refresh()

    console = Console(file=cast(IO[str], StandardError()))
    is_seen = console.is_terminal or console.is_jupyter
    quiet = logger.level > logging.INFO or not (is_seen or logger.isEnabledFor(logging.INFO))
    console.quiet = quiet or _hidden.get()  # before rich 15, hidden bars end with a line
    kind = InNotebook if console.is_jupyter else Progress
    return kind(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=console.quiet,
    )
