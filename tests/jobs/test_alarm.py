"""The alarm: silent on images like those of the training, and right about others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from denoisplit.errors import InputError
from denoisplit.files.json_file import write_json
from denoisplit.images.tiling import Array
from denoisplit.jobs.alarm import (
    BLURRED,
    LESS_NOISY,
    MEAN,
    NOISIER,
    STRUCTURE,
    Alarm,
    judge_image,
)
from denoisplit.jobs.alarm_file import ALARM, read_alarm
from denoisplit.jobs.tile_statistics import Units
from denoisplit.training.calibration.alarm import alarm_of

SIZE = 192
NOISE = 5.0
UNITS = Units(
    scale=1.0,
    shift=0.0,
    signals=np.array([[0.0, 300.0]] * 2),
    variances=np.array([[NOISE**2, NOISE**2 + 1e-3]] * 2),
    means=np.array([25.0, 25.0]),
    stds=np.array([20.0, 20.0]),
)


def structure(number: int, k: int) -> Array:
    """Return grains (k = 0) or lines (k = 1)."""
    field = np.random.default_rng((number, k)).standard_normal((SIZE, SIZE))
    if k:
        smooth = gaussian_filter(field, 5)
        return np.float32(10 + 80 * np.exp(-((smooth / smooth.std() / 0.15) ** 2)))
    smooth = gaussian_filter(field, 1.5)
    return np.float32(10 + 20 * np.clip(smooth / smooth.std(), 0, None))


def discs(number: int) -> Array:
    smooth = gaussian_filter(np.random.default_rng((number, 2)).standard_normal((SIZE, SIZE)), 12)
    return np.float32(10 + 60 / (1 + np.exp(-8 * (smooth / smooth.std() - 0.7))))


def recorded(means: Array, seed: int, noise: float = NOISE) -> tuple[Array, Array]:
    """Return a noisy superposition, and the split of an ideal network."""
    field = np.random.default_rng((seed, 3)).standard_normal(means.shape[1:])
    return np.float32(means.sum(axis=0) + np.sqrt(2) * noise * field), means


def truth(number: int) -> Array:
    return np.stack([structure(number, k) for k in range(2)])


def with_discs(number: int) -> Array:
    return np.stack([structure(number, 0), discs(number)])


def blurred(means: Array) -> Array:
    return gaussian_filter(means, (0, 3, 3))


@pytest.fixture(scope="module")
def alarm() -> Alarm:
    usual = [truth(j) for j in range(12)]
    plain = [recorded(m, j) for j, m in enumerate(usual)]
    missing = [np.stack([m[0], np.full_like(m[1], 10)]) for m in usual]
    changes = {"": usual, BLURRED: [blurred(m) for m in usual], "1 missing": missing}
    changed = {
        name: [recorded(m, 100 + j) for j, m in enumerate(frames)]
        for name, frames in changes.items()
    }
    return alarm_of("sum", UNITS, plain, changed)


def test_images_like_those_of_the_training_raise_none(alarm: Alarm) -> None:
    tiles = [alarm.judge(*recorded(truth(j), j)) for j in range(50, 70)]
    assert np.mean([t.unlike.mean() for t in tiles]) < 0.02
    assert not any(alarm.summary([t])["alarm"] for t in tiles)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda j: recorded(truth(j), j, 2 * NOISE), NOISIER),
        (lambda j: recorded(truth(j), j, 0.7 * NOISE), LESS_NOISY),
        (lambda j: tuple(a / 2 for a in recorded(truth(j), j)), MEAN),
        (lambda j: recorded(blurred(truth(j)), j), BLURRED),
        (lambda j: recorded(with_discs(j), j), STRUCTURE),
    ],
)
def test_what_is_unlike_is_named(
    alarm: Alarm, make: Callable[[int], tuple[Array, Array]], what: str
) -> None:
    record = alarm.summary([alarm.judge(*make(j)) for j in range(50, 54)])
    assert record["alarm"]
    assert record["unlike"] > 0.5
    assert record["what"] == [what]


def test_an_image_without_a_tile_is_not_judged(alarm: Alarm) -> None:
    x, means = recorded(truth(0), 0)
    record = alarm.summary([alarm.judge(x[:50], means[:, :50])])
    assert record["tiles"] == 0
    assert not record["alarm"]


def test_a_file_gives_the_same_judgement(alarm: Alarm, tmp_path: Path) -> None:
    assert read_alarm(tmp_path, 2) is None
    write_json(tmp_path / ALARM, alarm.as_dict())
    again = read_alarm(tmp_path, 2)
    assert again is not None
    frame = recorded(truth(60), 60)
    np.testing.assert_array_equal(again.judge(*frame).each, alarm.judge(*frame).each)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", ["noisier"]),
        ("kind", "product"),
        ("limits", [0.0]),
        ("centre", "1"),
        ("precision", [[float("inf")]]),
        ("brightness", -1.0),
        ("variances", None),
        ("signals", [[1.0, 0.0]] * 2),
        ("signals", []),
        ("centre", [[1.0], "x"]),
        ("brightness", 1e300),
    ],
)
def test_a_damaged_file_is_refused(alarm: Alarm, tmp_path: Path, key: str, value: object) -> None:
    stored = alarm.as_dict() | {key: value}
    (tmp_path / ALARM).write_text(json.dumps(stored))
    with pytest.raises(InputError, match=ALARM):
        read_alarm(tmp_path, 2)


def test_the_alarm_of_another_number_of_structures_is_refused(alarm: Alarm, tmp_path: Path) -> None:
    write_json(tmp_path / ALARM, alarm.as_dict())
    with pytest.raises(InputError, match=ALARM):
        read_alarm(tmp_path, 3)


def test_an_image_is_judged_from_its_files(alarm: Alarm, tmp_path: Path) -> None:
    frames = [recorded(truth(j), j, 2 * NOISE) for j in (50, 51)]
    tifffile.imwrite(tmp_path / "x.tif", np.stack([x for x, _ in frames]), metadata={"axes": "TYX"})
    split = np.stack([means for _, means in frames])
    tifffile.imwrite(tmp_path / "split.ome.tif", split, ome=True, metadata={"axes": "TCYX"})
    record = judge_image(alarm, tmp_path / "x.tif", tmp_path / "split.ome.tif")
    assert record == {
        "file": str(tmp_path / "x.tif"),
        **alarm.summary([alarm.judge(*frame) for frame in frames]),
    }
    assert record["what"] == [NOISIER]
    pairs = iter(frames)
    tifffile.imwrite(tmp_path / "zero.ome.tif", 0 * split, ome=True, metadata={"axes": "TCYX"})
    again = judge_image(
        alarm, tmp_path / "x.tif", tmp_path / "zero.ome.tif", lambda x: next(pairs)[1]
    )
    assert again == record
