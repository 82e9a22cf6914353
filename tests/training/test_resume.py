"""Which settings a training may be resumed with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from denoisplit.config.settings import Settings, settings_from
from denoisplit.errors import InputError
from denoisplit.training.resume import check_same_settings


def settings(folder: str = "", **groups: Any) -> Settings:
    names = [{"name": name, "files": [f"{folder}{name}.tif"]} for name in ("ER", "MT")]
    return settings_from({"structures": names, **groups})


@pytest.mark.parametrize("tile", [None, 256])
def test_moved_files_and_other_tiles_are_the_same_training(tile: int | None) -> None:
    stored = settings("there/", prediction={"tile": 512})
    check_same_settings(stored, settings("here/", prediction={"tile": tile}), Path("run"))


@pytest.mark.parametrize(
    ("group", "values"), [("prediction", {"halo": 48}), ("training", {"weight_averaging": 0.5})]
)
def test_others_are_refused_by_name(group: str, values: dict[str, Any]) -> None:
    ((name, value),) = values.items()
    before = getattr(getattr(settings(), group), name)
    says = f"started with other settings: {group}.{name} ({before}, not {value})"
    with pytest.raises(InputError, match=re.escape(says)):
        check_same_settings(settings(), settings(**{group: values}), Path("run"))


def test_of_many_others_some_are_named() -> None:
    """Those that were left out are others too, as they have a value then."""
    stored = settings(seed=1, preset="small", training={"max_steps": 60})
    says = r"seed \(1, not 0\), .* and \d+ more"
    with pytest.raises(InputError, match=says):
        check_same_settings(stored, settings(training={"max_steps": 90}), Path("run"))
