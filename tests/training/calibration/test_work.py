"""Estimated work of a calibration: what it grows with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from denoisplit.config.settings import Settings, settings_from
from denoisplit.data.prepare import TrainingData, prepare
from denoisplit.prediction.tiles import LEAST_PER_PIXEL, bytes_of_tile, tile_side
from denoisplit.run import build_network
from denoisplit.training.calibration.work import (
    FEATURE_MAPS,
    calibration_tile,
    calibration_work,
)


def settings(**groups: Any) -> Settings:
    structures = [{"name": name, "files": [f"{name}.tif"]} for name in "AB"]
    network = {"filters": 16, "latents": 2, "levels": 2, "patch": 16}
    return settings_from({"structures": structures, "network": network, **groups})


def data_of(chosen: Settings, side: int = 48) -> TrainingData:
    rng = np.random.default_rng(0)
    frames = [[rng.normal(50, 9, (side, side)) for _ in range(12)] for _ in range(2)]
    return prepare(frames, chosen)


def work(chosen: Settings, data: TrainingData) -> dict[str, float]:
    return calibration_work(build_network(chosen), chosen, data)


def test_samples_steps_and_pixels_take_time() -> None:
    usual = settings()
    data = data_of(usual)
    base = work(usual, data)
    assert all(value > 0 for value in base.values())
    samples = work(settings(prediction={"calibration_samples": 100}), data)
    assert samples["evaluating"] == pytest.approx(2 * base["evaluating"])
    steps = work(settings(prediction={"error_map_steps": 1200}), data)
    assert steps["error map"] > base["error map"] and steps["decoding"] == base["decoding"]
    larger = work(usual, data_of(usual, 96))
    same = {name for name in base if larger[name] == base[name]}
    assert same == {"sampling decoded means", "correcting decoded means", "error map"}


def test_a_truth_needs_no_probes_and_no_error_map_few_samples() -> None:
    usual = settings(data={"synthetic_gaussian": 1.0})
    known = work(usual, data_of(usual))
    assert "probing" not in known and "intervals" not in known and "error map" in known
    bare = settings(prediction={"error_map": False})
    assert set(work(bare, data_of(bare))) == {"calibrating", "evaluating"}


def test_tiles_of_large_frames_take_little_memory() -> None:
    usual = settings(network={"filters": 64, "latents": 2, "levels": 2, "patch": 16})
    model, halo = build_network(usual), 64
    small, large = data_of(usual), data_of(usual, 520)
    assert calibration_tile(model, usual, small, halo) == tile_side(model, halo)
    side = calibration_tile(model, usual, large, halo)
    assert bytes_of_tile(model, side, halo, LEAST_PER_PIXEL) <= FEATURE_MAPS
    assert side < tile_side(model, halo, memory=1e12)
    chosen = settings(prediction={"tile": 512})
    assert calibration_tile(model, chosen, large, halo) == 512
