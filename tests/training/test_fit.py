"""Training: what a step is made of, what interrupts it, and what a resumed one gives."""

from __future__ import annotations

import csv
import logging
import math
import os
import random
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from denoisplit.config.settings import Settings, settings_from
from denoisplit.data.patches import GridPatches, RandomCrops
from denoisplit.data.prepare import TrainingData, prepare
from denoisplit.data.simulation import simulate
from denoisplit.data.summed_crops import Sums
from denoisplit.errors import InputError
from denoisplit.network.context import ContextVSE
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.build import fit_available_noise_models
from denoisplit.training import fit, loaders
from denoisplit.training import task as training
from denoisplit.training.fit import TrainingOutcome, fit_weights
from denoisplit.training.history import quiet_lightning
from denoisplit.training.objective import Loss
from denoisplit.training.one_network import initial_network
from denoisplit.training.schedule import schedule, step_seed
from denoisplit.training.task import SplittingTask

FRAMES = {
    "ER": simulate("mesh", frames=4, size=64, seed=1),
    "MT": simulate("filaments", frames=4, size=64, seed=1),
}
TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32},
    "training": {"max_steps": 8, "batch": 2},
    "noise_model_fit": {"steps": 20, "components": 1},
    "prediction": {"calibration_samples": 2, "error_map": False},
    "data": {"synthetic_poisson": 2.0, "synthetic_gaussian": 1.0},
}


def tiny(**groups: Any) -> Settings:
    """The tiny settings, groups of settings laid over them."""
    values = {key: {**value, **groups.pop(key, {})} for key, value in TINY.items()}
    names = [{"name": name, "files": ["unused"]} for name in FRAMES]
    return settings_from({"structures": names, **values, **groups})


def material(settings: Settings) -> tuple[TrainingData, list[GaussianMixture]]:
    data = prepare(list(FRAMES.values()), settings)
    fits = fit_available_noise_models(settings, data, {})
    return data, [fitted.model for fitted in fits.values()]


def fitted(folder: Path, **groups: Any) -> tuple[VSE, TrainingOutcome]:
    """A tiny training."""
    settings = tiny(**groups)
    data, models = material(settings)
    model = initial_network(settings, data)
    folder.mkdir(exist_ok=True)
    history = folder / "history.csv"
    result = fit_weights(model, models, data, settings, checkpoints=folder, history=history)
    return model, result


def task_of(**groups: Any) -> tuple[SplittingTask, torch.Tensor]:
    """The training task and one batch."""
    settings = tiny(**groups)
    data, models = material(settings)
    task = SplittingTask(
        initial_network(settings, data), models, data.superposition, settings,
        schedule(settings, 8),
    )  # fmt: skip
    crops = RandomCrops(
        data.training, patch=32, seed=0, independent=False, augment=False,
        planes=settings.network.planes,
    )  # fmt: skip
    return task, torch.stack([crops[0], crops[1]])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def finite(model: VSE) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


# ---------------------------------------------------------------- randomness and schedule


def test_a_step_seed_is_a_function_of_seed_use_and_step() -> None:
    places = [(s, u, n) for s in range(4) for u in (1, 2) for n in range(250)]
    seeds = [step_seed(*place) for place in places]
    assert len(set(seeds)) == len(seeds)
    assert [step_seed(*place) for place in places] == seeds
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("max_steps", [1, 2, 7, 100, 1000, None])
@pytest.mark.parametrize("crops", [1, 10, 1000])
def test_the_steps_asked_for_are_made_and_never_passed(max_steps: int | None, crops: int) -> None:
    training_ = {"max_steps": max_steps, "batch": 4, "max_epochs": 30, "min_steps_per_epoch": 3}
    plan = schedule(tiny(training=training_), crops)
    once = max(math.ceil(crops / 4), 3)
    if max_steps is None:
        assert (plan.epochs, plan.steps_per_epoch) == (30, once)
    else:
        assert plan.steps <= min(max_steps, 30 * max(once, max_steps))
        assert plan.epochs <= 30
        # all of them, but for a rest smaller than an epoch
        assert plan.epochs == 30 or max_steps - plan.steps < plan.epochs


def test_a_set_length_of_the_epochs_is_kept() -> None:
    for crops in (1, 10_000):
        plan = schedule(tiny(training={"max_steps": 12, "steps_per_epoch": 3}), crops)
        assert (plan.epochs, plan.steps_per_epoch) == (4, 3)
        plan = schedule(tiny(training={"max_steps": None, "steps_per_epoch": 5}), crops)
        assert (plan.epochs, plan.steps_per_epoch) == (400, 5)


def test_a_seed_is_one_training(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    first, _ = fitted(tmp_path / "a")
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    again, _ = fitted(tmp_path / "b")
    other, _ = fitted(tmp_path / "c", seed=1)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    assert not torch.equal(first.state_dict()["output.weight"], other.state_dict()["output.weight"])


def test_global_state_is_as_before(tmp_path: Path) -> None:
    """Nothing outside the training changes: warnings, loggers, environment, random states."""

    def state() -> list[Any]:
        loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
        return [
            list(warnings.filters), {log.name: (log.level, log.disabled) for log in loggers},
            dict(os.environ), random.getstate(), repr(np.random.get_state()),  # noqa: NPY002
            torch.random.get_rng_state().tolist(), signal.getsignal(signal.SIGINT),
            torch.get_default_dtype(), torch.is_grad_enabled(),
        ]  # fmt: skip

    fitted(tmp_path / "first")  # whatever is imported late is imported now
    before = state()
    fitted(tmp_path / "second")
    for now, then in zip(state(), before, strict=True):
        assert now == then


def test_lightning_is_silent_only_within_a_training() -> None:
    log = logging.getLogger("lightning.pytorch")
    level, filters = log.level, list(warnings.filters)

    def interrupted() -> None:
        with quiet_lightning():
            assert log.level == logging.ERROR and warnings.filters != filters
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert log.level == level and warnings.filters == filters


def test_a_cosine_ends_at_no_step(tmp_path: Path) -> None:
    fitted(tmp_path, training={"schedule": "cosine", "max_steps": 16, "learning_rate": 1e-3})
    rates = [float(row["learning_rate"]) for row in rows(tmp_path / "history.csv")]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 15 / 16)), rel=1e-3)


def rises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every validation worse than the one before."""
    loss = SplittingTask.loss

    def rising(task: SplittingTask, targets: torch.Tensor) -> Loss:
        found = loss(task, targets)
        if task.training:
            return found
        more = 100.0 * task.current_epoch
        return found._replace(total=found.total + more, data=found.data + more)

    monkeypatch.setattr(SplittingTask, "loss", rising)
    risk = SplittingTask.risk
    monkeypatch.setattr(
        SplittingTask, "risk", lambda task, batch: risk(task, batch) + 100.0 * task.current_epoch
    )


def test_a_plateau_halves_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that more than `plateau_patience` epochs in a row are no better."""
    rises(monkeypatch)
    fitted(tmp_path, training={"plateau_patience": 1, "learning_rate": 0.01, "max_steps": 48})
    rates = [float(row["learning_rate"]) for row in rows(tmp_path / "history.csv")]
    assert rates == pytest.approx([0.01 / 2 ** (max(epoch - 2, 0) // 2) for epoch in range(1, 13)])


@pytest.mark.parametrize(("augment", "pairing"), [(True, "co-registered"), (False, "unrelated")])
def test_settings_reach_the_crops(
    augment: bool, pairing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    class Recorded(RandomCrops):
        def __init__(self, frames: Any, **options: Any) -> None:
            asked.update(options)
            super().__init__(frames, **options)

    sums = Sums(0.25, 0.125, (0.0, 0.0), (1e9, 1e9))
    shares: list[dict[str, float]] = []
    monkeypatch.setattr(loaders, "RandomCrops", Recorded)
    monkeypatch.setattr(
        loaders, "allowed_sums", lambda models, **chosen: (shares.append(chosen), sums)[1]
    )
    data = {"augment": augment, "pairing": pairing, "crop_candidates": 3, "binned_crops": 0.25,
            "stacked_crops": 0.125}  # fmt: skip
    fitted(tmp_path, data=data, seed=3)
    assert asked == {
        "patch": 32, "seed": 3, "independent": pairing == "unrelated", "augment": augment,
        "candidates": 3, "planes": 1, "sums": sums,
    }  # fmt: skip
    assert shares == [{"binned": 0.25, "stacked": 0.125}]


# ---------------------------------------------------------------- the objective of a step


def loss_of(task: SplittingTask, batch: torch.Tensor) -> Loss:
    task.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        return task.loss(batch)


def test_beta_weighs_the_kl_by_the_number_of_structures() -> None:
    for beta in (0.0, 1.0, 2.0):
        loss = loss_of(*task_of(objective={"beta": beta}))
        assert loss.total.item() == pytest.approx((loss.data + beta / 2 * loss.kl).item())


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (2, 0.5), (4, 1.0), (7, 1.0)])
def test_beta_rises_over_the_first_steps(
    step: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a training of 8; validation judges by the whole objective from the beginning."""
    task, batch = task_of(objective={"beta": 2.0, "warm_up": 0.5})
    monkeypatch.setattr(SplittingTask, "trainer", SimpleNamespace(global_step=step))
    loss = task.train().loss(batch)
    assert loss.kl > 0.01
    assert loss.total.item() == pytest.approx((loss.data + share * loss.kl).item())
    judged = loss_of(task, batch)
    assert judged.total.item() == pytest.approx((judged.data + judged.kl).item())


def test_crops_of_different_virtual_batches_do_not_meet() -> None:
    """What a crop adds to the loss is its own; in one pass BatchNorm joins it with the others."""
    mixed = {}
    for virtual in (None, 1):
        task, (a, b) = task_of(network={"levels": 4}, training={"virtual_batch": virtual})
        c, d = 4 * a, 4 * b

        def loss(*crops: torch.Tensor, task: SplittingTask = task) -> float:
            torch.manual_seed(3)
            return float(task.loss(torch.stack(crops)).total.detach())

        mixed[virtual] = abs((loss(a, b) - loss(a, d)) - (loss(c, b) - loss(c, d)))
    assert mixed[1] < 1e-4 < 1e-3 < mixed[None]


def test_without_a_clip_the_gradient_stays() -> None:
    for clip, kept in ((0.5, False), (None, True)):
        task, targets = task_of(training={"gradient_clip": clip})
        task.loss(targets).total.mul(1e3).backward()
        before = [p.grad.clone() for p in task.model.parameters() if p.grad is not None]
        task.configure_gradient_clipping(task.optimiser)
        after = [p.grad for p in task.model.parameters() if p.grad is not None]
        assert all(map(torch.equal, before, after)) == kept
        assert kept or sum(float(g.square().sum()) for g in after) < 0.26


def test_the_two_forms_of_the_kl_weigh_the_levels_differently() -> None:
    eq3, eq4 = (
        loss_of(*task_of(network={"levels": 4}, objective={"kl_form": form, "free_bits": 0.0}))
        for form in ("eq3", "eq4")
    )
    assert eq3.data == eq4.data
    sizes = [4 * (32 // 2 ** (level + 1)) ** 2 for level in range(4)]
    by_level = eq4.kl_levels.numpy()
    assert eq4.kl.item() == pytest.approx(by_level.sum() / 32**2, rel=1e-5)
    assert eq3.kl.item() == pytest.approx(np.mean(by_level / sizes), rel=1e-5)


def test_altered_musplit_has_a_variance_of_its_own() -> None:
    task, batch = task_of(system="altered_musplit")
    assert len(task.noise_models) == 0
    output = loss_of(task, batch)
    plain = loss_of(*task_of())
    assert output.data.item() != pytest.approx(plain.data.item(), rel=0.01)


def test_musplit_has_the_noise_of_its_own_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Input: the superposed planes. Targets: the noisy structures of the patch, each its own."""
    task, batch = task_of(system="musplit", network={"planes": 3})
    assert batch.shape == (2, 2, 3, 32, 32) and len(task.noise_models) == 0
    seen: dict[str, torch.Tensor] = {}

    def spied(target: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> Any:
        seen["target"] = target
        return nll(target, mean, log_variance)

    def encoded(x: torch.Tensor) -> Any:
        seen["input"] = x
        return encode(x)

    nll, encode = training.gaussian_nll, task.model.encode
    monkeypatch.setattr(training, "gaussian_nll", spied)
    monkeypatch.setattr(task.model, "encode", encoded)
    found = loss_of(task, batch)
    assert torch.isfinite(found.total)
    torch.testing.assert_close(seen["target"], task.model.normalise_targets(batch[:, :, 0]))
    expected = batch.sum(dim=1) * task.superposition.scale + task.superposition.shift
    torch.testing.assert_close(seen["input"], task.model.normalise(expected))


@pytest.mark.parametrize("context", ["lean", "regular"])
def test_musplit_trains(tmp_path: Path, context: str) -> None:
    model, result = fitted(
        tmp_path, system="musplit", network={"planes": 3, "context": context}
    )  # fmt: skip
    assert result.steps == 8 and result.skipped_steps == 0 and finite(model)
    assert isinstance(model, ContextVSE) and model.context == context


@pytest.mark.parametrize("system", ["denoisplit", "altered_musplit"])
def test_mixed_precision_leaves_the_likelihood_in_float32(system: str) -> None:
    task, batch = task_of(system=system)
    exact = loss_of(task, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
        mixed = loss_of(task, batch)
    for a, b in zip(mixed, exact, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.02)
    # a likelihood in bfloat16 would be a multiple of 1 / 32 here
    assert mixed.data.item() != mixed.data.bfloat16().item()


MEMORY = """
import denoisplit
from denoisplit.data.simulation import simulate
from denoisplit.machine.memory import keep_freed_memory, peak_memory
keep_freed_memory()
images = {{k: simulate(k, frames=6, size=320, seed=1) for k in ("mesh", "filaments")}}
options = {{"calibration_samples": 4, "error_map_steps": 10}}
denoisplit.train(images, {out!r}, preset="small", synthetic_poisson=2, max_steps=20,
                 prediction=options, progress=False)
print(peak_memory())
"""


@pytest.mark.slow
def test_preset_small_takes_less_than_one_and_a_half_gigabytes(tmp_path: Path) -> None:
    """With its calibration and report."""
    code = MEMORY.format(out=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 1.5e9


@pytest.mark.slow
def test_mixed_precision_has_the_loss_curve_of_float32(tmp_path: Path) -> None:
    curves = []
    for precision in ("32", "bf16"):
        chosen = {"max_steps": 200, "min_steps_per_epoch": 20, "precision": precision}
        fitted(tmp_path / precision, training=chosen)
        history = rows(tmp_path / precision / "history.csv")
        curves.append([[float(row[k]) for k in ("train_loss", "val_loss")] for row in history])
    exact, mixed = np.array(curves)
    assert (exact != mixed).any()
    apart = np.abs(mixed / exact - 1).max()
    assert apart < 0.01
    assert 1 - exact[-1, 0] / exact[0, 0] > 3 * apart  # a curve, and it falls


# ---------------------------------------------------------------- what goes wrong


def test_a_loss_that_is_nan_once_is_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, calls = SplittingTask.loss, []

    def once(task: SplittingTask, targets: torch.Tensor) -> Loss:
        found = loss(task, targets)
        calls.append(task.training)
        return found._replace(total=found.total * float("nan")) if len(calls) == 3 else found

    monkeypatch.setattr(SplittingTask, "loss", once)
    model, result = fitted(tmp_path)
    assert calls[2]
    assert (result.steps, result.skipped_steps) == (8, 1)
    assert finite(model)
    assert [row["skipped_steps"] for row in rows(tmp_path / "history.csv")] == ["1", "1"]
    assert all(math.isfinite(float(row["train_loss"])) for row in rows(tmp_path / "history.csv"))


def test_a_poisoned_batch_does_not_stay_in_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the weights nor in the running moments of its normalisation."""
    crop = RandomCrops.__getitem__

    def poisoned(crops: RandomCrops, number: int) -> torch.Tensor:
        return crop(crops, number) * (float("nan") if number == 4 else 1)

    monkeypatch.setattr(RandomCrops, "__getitem__", poisoned)
    model, result = fitted(tmp_path)
    assert result.skipped_steps == 1
    assert finite(model)
    assert math.isfinite(result.best)


def test_a_training_without_a_finite_step_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = SplittingTask.loss

    def never(task: SplittingTask, targets: torch.Tensor) -> Loss:
        found = loss(task, targets)
        return found._replace(total=found.total * (float("nan") if task.training else 1))

    monkeypatch.setattr(SplittingTask, "loss", never)
    says = "the training diverged: 21 steps in a row had no finite gradient; .*learning_rate"
    with pytest.raises(InputError, match=says):
        fitted(tmp_path, training={"max_steps": 40})


def test_a_training_without_a_finite_validation_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = SplittingTask.loss

    def never(task: SplittingTask, targets: torch.Tensor) -> Loss:
        found = loss(task, targets)
        return found._replace(total=found.total * (1 if task.training else float("inf")))

    monkeypatch.setattr(SplittingTask, "loss", never)
    says = "the training diverged: no epoch had a finite validation loss"
    with pytest.raises(InputError, match=says):
        fitted(tmp_path)


# ---------------------------------------------------------------- which weights are kept


@pytest.mark.parametrize(
    ("monitor", "averaging"), [("loss", 0.0), ("data", 0.0), ("risk", 0.0), ("loss", 0.5)]
)
def test_the_weights_are_those_of_the_best_epoch(
    monitor: str, averaging: float, tmp_path: Path
) -> None:
    """Where later epochs are worse; validated again, the weights give the same value."""
    groups: dict[str, Any] = {
        "objective": {"monitor": monitor},
        "training": {"learning_rate": 0.05, "max_steps": 20, "weight_averaging": averaging},
    }
    with pytest.MonkeyPatch.context() as patch:
        rises(patch)
        patch.setattr(fit, "set_moments", lambda *_: None)  # the moments of the validation
        model, result = fitted(tmp_path, **groups)
    values = [float(row[f"val_{monitor}"]) for row in rows(tmp_path / "history.csv")]
    assert result.best == pytest.approx(min(values), rel=1e-5)
    assert values.index(min(values)) < len(values) - 1

    settings = tiny(**groups)
    data, models = material(settings)
    task = SplittingTask(model, models, data.superposition, settings, schedule(settings, 8))
    task.eval()
    patches = GridPatches(data.validation, patch=32)
    found = []
    for batch in range(2):
        torch.manual_seed(step_seed(0, training.VALIDATION, batch))
        with torch.no_grad():
            crops = torch.stack([patches[2 * batch], patches[2 * batch + 1]])
            loss = task.loss(crops)
            terms = {"loss": loss.total, "data": loss.data, "risk": task.risk(crops)}
        found.append(terms[monitor].item())
    assert np.mean(found) == pytest.approx(result.best, rel=1e-5)


def test_kept_weights_are_the_running_mean_of_those_of_all_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decay, steps = 0.6, []

    def remember(task: SplittingTask, *_: Any) -> None:
        steps.append([p.detach().clone() for p in task.model.parameters()])

    monkeypatch.setattr(SplittingTask, "on_train_batch_end", remember)
    chosen = {"max_steps": 24, "min_steps_per_epoch": 24, "weight_averaging": decay}
    model, _ = fitted(tmp_path, training=chosen)
    mean = steps[0]
    for count, weights in enumerate(steps[1:], start=1):
        share = max(1 - decay, 10 / (10 + count))
        mean = [(1 - share) * m + share * w for m, w in zip(mean, weights, strict=True)]
    assert any((a != b).any() for a, b in zip(mean, steps[-1], strict=True))
    for found, expected in zip(model.parameters(), mean, strict=True):
        torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-6)
    # the training itself does not know of it
    alone: list[Any] = []
    monkeypatch.setattr(
        SplittingTask, "on_train_batch_end",
        lambda task, *_: alone.append(next(task.model.parameters()).detach().clone()),
    )  # fmt: skip
    fitted(tmp_path / "plain", training=chosen | {"weight_averaging": 0.0})
    assert all(torch.equal(a, b[0]) for a, b in zip(alone, steps, strict=True))


@pytest.mark.parametrize(
    "system", ["denoisplit", pytest.param("altered_musplit", marks=pytest.mark.slow)]
)
def test_averaged_weights_have_moments_of_their_own(
    system: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured on 24 batches, the same each time; nothing else differs."""
    groups = {"system": system, "training": {"max_steps": 24, "weight_averaging": 0.9}}
    with caplog.at_level(logging.INFO, "denoisplit"):
        model, _ = fitted(tmp_path / "a", **groups)
    line = next(r.getMessage() for r in caplog.records if "BatchNorm" in r.getMessage())
    data_terms = [float(number) for number in re.findall(r"-?\d+\.\d{4}", line)]
    assert len(data_terms) == 2 and abs(data_terms[0] - data_terms[1]) < 0.05
    first = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert first.num_batches_tracked == 24

    measured, moments = [], fit.batch_moments

    def spy(module: torch.nn.Module, *, measure: bool) -> Any:
        measured.append(measure)
        return moments(module, measure=measure)

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "denoisplit"):
        patch.setattr(fit, "batch_moments", spy)
        again, _ = fitted(tmp_path / "b", **groups)
        assert measured == [True]  # nothing is compared that nobody sees
        patch.setattr(fit, "set_moments", lambda *_: None)
        without, _ = fitted(tmp_path / "c", **groups)
    states = [m.state_dict() for m in (model, again, without)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    differ = {key for key in states[0] if not torch.equal(states[0][key], states[2][key])}
    assert differ and all(re.search(r"running_(mean|var)$|num_batches", key) for key in differ)


def test_an_interrupted_training_by_risk_gives_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moments of averaged weights and estimated risks included."""
    groups = {
        "objective": {"monitor": "risk"},
        "training": {"max_steps": 12, "weight_averaging": 0.9},
    }
    whole, result = fitted(tmp_path / "a", **groups)
    begin = SplittingTask.on_train_batch_start

    def stop(task: SplittingTask, *batch: Any) -> None:
        if task.trainer.global_step == 7:
            raise KeyboardInterrupt
        begin(task, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(SplittingTask, "on_train_batch_start", stop)
        with pytest.raises(KeyboardInterrupt):
            fitted(tmp_path / "b", **groups)
    part, resumed = fitted(tmp_path / "b", **groups)
    assert result == resumed
    for key, value in whole.state_dict().items():
        assert torch.equal(value, part.state_dict()[key]), key
    risks = [[row["val_risk"] for row in rows(tmp_path / run / "history.csv")] for run in "ab"]
    assert risks[0] == risks[1]
    assert result.best == pytest.approx(min(map(float, risks[0])), rel=1e-5)


def test_weights_of_the_last_step_keep_the_moments_of_the_training(tmp_path: Path) -> None:
    model, _ = fitted(tmp_path)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    best = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert best.momentum == 0.1 and best.num_batches_tracked in (4, 8)
    assert state["model.input_mean"] == model.input_mean


def test_a_checkpoint_is_read_without_executing_anything(tmp_path: Path) -> None:
    fitted(tmp_path)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["global_step"] == 8
    assert state["denoisplit"]["skipped_steps"] == 0
    assert {p.name for p in tmp_path.iterdir()} == {"last.ckpt", "best.ckpt", "history.csv"}


def test_checkpoints_are_not_copied_from_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy can be cut short; a file moved within its folder is the old one or the new one."""

    def refuse(*unused: Any, **options: Any) -> None:
        raise AssertionError("a file is made elsewhere")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    fitted(tmp_path)
    assert (tmp_path / "last.ckpt").stat().st_size > 100_000
