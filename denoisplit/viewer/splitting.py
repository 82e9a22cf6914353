"""What the plugin does between two clicks: describe a run, split a layer; needs no viewer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from denoisplit.api import Run, import_package, load
from denoisplit.config.systems import SYSTEMS
from denoisplit.errors import InputError
from denoisplit.files.json_file import read_json
from denoisplit.jobs.array import COVERAGE
from denoisplit.prediction.frame import OnProgress
from denoisplit.progress import logger
from denoisplit.report.sentences import enumeration
from denoisplit.report.verdicts import verdict_sentences
from denoisplit.run import METRICS
from denoisplit.viewer.layers import ImageLayer, LayerData, layers_of


class RunFacts(NamedTuple):
    """What a user has to know of a run."""

    text: str  # what it splits, and how well; a line for each sentence
    coverages: tuple[float, ...]  # of its intervals
    usual: float | None  # the coverage that is chosen first


@dataclass(frozen=True)
class Choices:
    """What a user chose: as `denoisplit.jobs.array.predict_image` takes it."""

    run: str  # folder of a run, or a package
    channel: int | None = None
    samples: int = 0
    keep_samples: int = 0
    interval: float | None = None  # None for no layers of it
    seed: int = 0


def describe(path: str) -> RunFacts:
    """Describe a run or a package.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    with _opened(path) as run:
        system = SYSTEMS[run.config.settings.system].title
        kind = f"{system} of the {run.superposition.kind} of {enumeration(run.names)}."
        metrics = run.path / METRICS
        sentences = verdict_sentences(read_json(metrics)) if metrics.is_file() else []
        unknown = "How well it splits is not known: it has no verdict."
        if run.error_map is None:
            return RunFacts("\n".join([kind, *(sentences or [unknown])]), (), None)
        levels = tuple(sorted(round(c, 4) for c in run.error_map.coverages.tolist()))
        usual = COVERAGE if COVERAGE in levels else levels[-1]
        return RunFacts("\n".join([kind, *(sentences or [unknown])]), levels, usual)


def split_layer(
    source: ImageLayer, choices: Choices, on_progress: OnProgress
) -> tuple[list[LayerData], list[str]]:
    """Split a layer.

    Returns
    -------
    layers : list of tuple
        Pixels, properties and kind of new layers.
    warnings : list of str
        Lines for the user, such as that the image is unlike the training data.

    Raises
    ------
    InputError
        If the run, the image or a choice cannot be used.
    """
    with _opened(choices.run) as run, _warnings() as warnings:
        split = run.predict(
            source.image,
            channel=choices.channel,
            samples=choices.samples,
            keep_samples=choices.keep_samples,
            interval=choices.interval,
            seed=choices.seed,
            compile="off",  # compilation cannot be cancelled
            progress=False,
            on_progress=on_progress,
        )
    return layers_of(split, source, choices.interval), warnings


@contextmanager
def _opened(path: str) -> Iterator[Run]:
    """Load a run; a package is imported for the time of the block, and nothing in it executed."""
    if not path:
        raise InputError("no run is chosen", remedy="choose the folder of a run, or a package")
    if not Path(path).is_file():
        yield load(path)
        return
    with TemporaryDirectory() as folder:
        yield import_package(path, Path(folder) / Path(path).stem)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the warnings that this thread logs within the block."""
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == threading.get_ident():
                lines.append(record.getMessage())

    collector = Collector(logging.WARNING)
    logger.addHandler(collector)
    try:
        yield lines
    finally:
        logger.removeHandler(collector)
