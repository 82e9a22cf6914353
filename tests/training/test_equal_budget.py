"""Equal budgets: the same steps for every network, with as many pixels in each step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from denoisplit.config.settings import settings_from
from denoisplit.config.systems import SPLITTING, options_for
from denoisplit.config.training_options import settings_values
from denoisplit.training.equal_budget import efforts_of, equal_budgets
from denoisplit.training.schedule import schedule

IMAGES = {"ER": ["er.tif"], "MT": ["mt.tif"]}  # are not read


def test_equal_pixels_in_every_step() -> None:
    options = {"training": {"max_steps": 2, "batch": 8}}
    budgets = equal_budgets(IMAGES, ("denoisplit", "musplit"), options)
    assert budgets == {  # patches of 128 and 64 px
        "denoisplit": ((1, 2, 2), None), "musplit": ((1, 2, 8), None),
    }  # fmt: skip
    for systems in (SPLITTING[::-1], ("musplit", "denoisplit"), ("musplit", "hdn_musplit")):
        for name, budget in equal_budgets(IMAGES, systems, options).items():
            assert budget == equal_budgets(IMAGES, SPLITTING, options)[name]
    chain = {**options, "denoiser": {"network": {"patch": 64, "levels": 4}}}
    budgets = equal_budgets(IMAGES, ("denoisplit", "hdn_musplit"), chain)
    assert budgets["hdn_musplit"] == ((1, 2, 8), (1, 2, 8))


@pytest.mark.parametrize("crops", [1, 2156, 9900])
@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"preset": "small"}, 800), ({"max_steps": 1600}, 1600), ({"max_steps": 1657}, 1649),
        ({"max_steps": 50_000, "preset": "paper"}, 50_000), ({"max_steps": 7}, 7),
        ({"max_steps": 1000, "training": {"min_steps_per_epoch": 300}}, 999),
    ],
)  # fmt: skip
def test_every_network_makes_the_same_steps(
    options: dict[str, Any], steps: int, crops: int
) -> None:
    """However many crops an epoch would have, and however early a system would end otherwise."""
    budgets = equal_budgets(IMAGES, SPLITTING, options)
    for name in SPLITTING:
        given = budgets[name].added_to(options_for(name, options))
        values = settings_values(IMAGES, None, None, None, {**given, "system": name})
        settings = settings_from(values)
        plan = schedule(settings, crops)
        trainings = [settings.training]
        if settings.denoiser:
            trainings.append(settings.denoiser.training)
            own = settings.model_copy(update={"training": settings.denoiser.training})
            assert schedule(own, crops) == plan
        assert plan.steps == steps
        for training in trainings:
            assert training.max_steps == steps and training.early_stop_patience >= plan.epochs
    if options == {"preset": "small"}:
        assert (plan.epochs, plan.steps_per_epoch) == (8, 100)


def test_efforts_are_read_from_the_histories(tmp_path: Path) -> None:
    options = {"preset": "small", "system": "hdn_musplit"}
    settings = settings_from(settings_values(IMAGES, None, None, None, options))
    for folder, last in ((".", 30), ("denoisers/a", 20), ("denoisers/mixed", 10)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "history.csv").write_text(f"epoch,step\n1,5\n2,{last}\n")
    run: Any = SimpleNamespace(path=tmp_path, config=SimpleNamespace(settings=settings))
    assert efforts_of(run) == [(n, 8 * 64 * 64) for n in (30, 20, 10)]
