"""File of the alarm in a run folder: plain numbers, which are checked when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from denoisplit.errors import InputError
from denoisplit.files.json_file import read_json
from denoisplit.images.lazy import first_line
from denoisplit.jobs.alarm import BEFORE, BLURRED, STRUCTURE, UNLIKE, Alarm
from denoisplit.jobs.tile_statistics import SIDE, Array, Flat, Units, tile_statistics

ALARM = "alarm.json"
MOST = 4096  # numbers along an axis of a stored array
LARGEST = 1e30  # whose products, too, are within float64


def read_alarm(path: Path, structures: int) -> Alarm | None:
    """Read the alarm of a run folder, if it has one.

    Raises
    ------
    InputError
        If it is damaged, or of another run.
    """
    file = path / ALARM
    if not file.is_file():
        return None
    try:
        return _checked(read_json(file), structures)
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        problem = f"the reference of the alarm is not usable ({first_line(error)})"
        raise InputError(problem, where=file, remedy="copy the run again") from None


def _checked(stored: Mapping[str, Any], structures: int) -> Alarm:
    """Build an alarm from untrusted values.

    Raises
    ------
    LookupError, TypeError, ValueError
    """
    names = tuple(stored["names"])
    if stored["kind"] not in ("sum", "mean"):
        raise ValueError("its superposition is neither sum nor mean")
    known = {*BEFORE, BLURRED, STRUCTURE, UNLIKE}
    if names[:4] != BEFORE or names[-1] != UNLIKE or not known.issuperset(names):
        raise ValueError("its names are unknown")

    def array(name: str, *shape: int) -> Flat:
        if not isinstance(stored[name], list) or len(stored[name]) > MOST:
            raise ValueError(f"{name} is not a list of numbers")
        values = np.array(stored[name], dtype=np.float64)
        if values.shape != shape or not (np.abs(values) <= LARGEST).all():
            raise ValueError(f"{name} is not an array of {shape} numbers up to {LARGEST:g}")
        return values

    def number(name: str) -> float:
        value = float(stored[name])
        if not abs(value) <= LARGEST:
            raise ValueError(f"{name} is larger than {LARGEST:g}")
        return value

    count, nodes, scores = len(stored["centre"]), len(stored["signals"][0]), len(names)
    of_signals, of_names = (structures, nodes), (scores,)
    shapes: dict[str, tuple[int, ...]] = {
        **{"signals": of_signals, "variances": of_signals},
        **{"means": (structures,), "stds": (structures,), "centre": (count,), "spread": (count,)},
        **{"directions": (scores - len(BEFORE) - 1, count), "precision": (count, count)},
        **dict.fromkeys(("score_centre", "score_spread", "limits", "image_limits"), of_names),
    }
    values: dict[str, Any] = {name: array(name, *shape) for name, shape in shapes.items()}
    values |= {name: number(name) for name in ("scale", "shift", "background", "brightness")}
    units = Units(**{field.name: values.pop(field.name) for field in fields(Units)})
    alarm = Alarm(kind=str(stored["kind"]), names=names, units=units, **values)
    positive = (units.variances, units.stds, alarm.spread, alarm.score_spread, alarm.limits)
    if not all((values > 0).all() for values in (*positive, alarm.image_limits)):
        raise ValueError("a variance, spread or limit is not positive")
    if alarm.brightness <= 0 or units.scale <= 0 or (np.diff(units.signals) <= 0).any():
        raise ValueError("its units are not positive, or its signals not in order")
    if tile_statistics(*_blank(structures), units).shape[1] != count:
        raise ValueError("its statistics are of another release")
    return alarm


def _blank(structures: int) -> tuple[Array, Array]:
    tiles = np.zeros((1, 1 + structures, SIDE, SIDE), dtype=np.float32)
    return tiles[:, 0], tiles[:, 1:]
