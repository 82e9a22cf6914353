"""Which settings a training may be resumed with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from denoisplit.commands.train_settings import check_same_settings
from denoisplit.config import Settings, settings_from
from denoisplit.errors import InputError


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
    with pytest.raises(InputError, match=f"a training with other {group} than given now"):
        check_same_settings(settings(), settings(**{group: values}), Path("run"))
