"""Frames of a training with a truth of its own, in every part and for every denoiser."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from denoisplit.config.settings import MIXED, Settings, settings_from
from denoisplit.data.chain_parts import parts_of
from denoisplit.data.prepare import TrainingData, prepare
from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import (
    _unchanged,
    check_truth,
    frames_of_training,
    parts_of_training,
    with_truth,
)
from denoisplit.images import fingerprint

KINDS = {"ER": "mesh", "MT": "filaments", "CCP": "puncta"}
SIGMA = 10.0
GAINS, OFFSETS = (0.3, 7.0, 2.0), (100.0, -50.0, 500.0)  # of the truth's own units
PARTS = ("training", "validation", "test")

Stacks = list[np.ndarray]


def material(
    count: int, frames: int = 6, size: int = 64, **groups: Any
) -> tuple[Settings, TrainingData, Stacks, Stacks]:
    """Settings and data of a training, and what was recorded: shortly, and in other units."""
    names = list(KINDS)[:count]
    clean = [simulate(KINDS[n], frames=frames, size=size, seed=k) for k, n in enumerate(names)]
    rng = np.random.default_rng(0)
    low = [np.float32(image + rng.normal(0, SIGMA, image.shape)) for image in clean]
    long = [g * image + o for image, g, o in zip(clean, GAINS, OFFSETS, strict=False)]
    structures = [{"name": name, "files": ["unused"]} for name in names]
    settings = settings_from({"structures": structures, "network": {"patch": 32}, **groups})
    return settings, prepare(low, settings), low, long


def is_near(truth: np.ndarray, observed: np.ndarray, sigma: float) -> bool:
    """Whether they differ by the noise alone."""
    difference = observed - truth
    return bool(
        abs(difference.mean()) < 0.1 * sigma and abs(difference.std() - sigma) < 0.1 * sigma
    )


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("frames", "size"), [(2, 320), (6, 64)], ids=["cut", "whole"])
def test_the_truth_of_every_part_is_that_of_its_frames(count: int, frames: int, size: int) -> None:
    settings, data, low, long = material(count, frames, size)
    given = with_truth(data, low, long, settings)
    assert given.has_truth and not data.has_truth
    for part in PARTS:
        known, noisy = frames_of_training(given, part), frames_of_training(data, part)
        assert known.has_truth and not noisy.has_truth and len(known) == len(noisy) > 0
        np.testing.assert_array_equal(known.inputs, noisy.inputs)
        for truth, observed in zip(known.truth, known.observed, strict=True):
            assert truth.shape == observed.shape and truth.dtype == np.float32
            assert is_near(truth, observed, SIGMA)
        assert known.reference.startswith("separate images")
    parts = parts_of_training(given)
    assert parts.training is not None and parts.training.has_truth


def test_gain_and_offset_are_those_of_all_frames() -> None:
    """A part alone would be fitted to its own noise."""
    settings, data, low, long = material(2)
    given = with_truth(data, low, long, settings).truth
    assert given is not None
    for k in range(2):
        fits = []
        for part, clean in zip(PARTS, given.images, strict=True):
            exposures = [image for image in long[k]]
            for image in clean[k]:
                # the exposure that is this image but for gain and offset
                (own,) = (
                    e for e in exposures if np.corrcoef(e.ravel(), image.ravel())[0, 1] > 0.9999
                )
                fits.append(np.polyfit(own.ravel(), image.ravel(), 1))
            assert len(clean[k]) == len(getattr(data, part)[k])
        np.testing.assert_allclose(fits, np.broadcast_to(fits[0], np.shape(fits)), rtol=1e-3)


def test_denoisers_of_a_chain_have_the_truth_of_what_they_denoise() -> None:
    sizes = {"filters": 4, "levels": 2, "patch": 32}
    settings, data, low, long = material(2, system="hdn_musplit", denoiser={"network": sizes})
    for part in parts_of(settings, with_truth(data, low, long, settings)):
        sigma = SIGMA * np.sqrt(2) if part.name == MIXED else SIGMA
        for name in PARTS:
            frames = frames_of_training(part.data, name)
            assert frames.has_truth
            for truth, observed in zip(frames.truth, frames.observed, strict=True):
                assert truth.shape[0] == 1 and is_near(truth, observed, sigma)
    assert not any(part.data.has_truth for part in parts_of(settings, data))


def test_a_clip_of_the_training_holds_for_its_truth() -> None:
    settings, data, low, long = material(1, data={"clip_quantile": 0.5})
    truth = with_truth(data, low, long, settings).truth
    assert truth is not None
    assert max(frame.max() for part in truth.images for frame in part[0]) == data.noise.clip


def test_saturated_pixels_of_a_truth_are_marked() -> None:
    settings, data, low, long = material(2)
    limit = np.quantile(long[0], 0.95)
    long[0] = np.minimum(long[0] / limit * 255, 255).astype(np.uint8)
    given = with_truth(data, low, long, settings)
    frames = frames_of_training(given, "test")
    assert 0.8 < np.mean(frames.unsaturated) < 0.99


def test_truths_that_do_not_fit_are_refused() -> None:
    settings, data, low, long = material(2)
    for changed, words in (
        ([long[0], long[1][:5]], "truth MT: found 5 frames, expected 6 as in structure MT"),
        ([long[0], long[1][:, :50]], "truth MT, frame 0: found 50 x 64 px"),
        ([long[0], -long[1]], "truth MT: these frames are dark where"),
        ([long[0], np.zeros_like(long[1])], "truth MT: some images are constant"),
    ):
        with pytest.raises(InputError, match=words):
            with_truth(data, low, changed, settings)
    with pytest.raises(InputError, match="truth: found the structures ER, expected all of ER, MT"):
        check_truth(settings, {"ER": ["er.tif"]})
    settings, *_ = material(2, data={"gaussian_sigma": 5.0})
    with pytest.raises(InputError, match="truth: synthetic noise is added"):
        check_truth(settings, {"ER": ["er.tif"], "MT": ["mt.tif"]})


def test_files_are_taken_in_the_order_of_their_training(tmp_path: Path) -> None:
    """An earlier release took img10 before img2, as a shell lists them."""
    pixels = np.random.default_rng(0).integers(1, 99, (3, 16, 16)).astype(np.uint16)
    files = [tmp_path / f"img{number}.tif" for number in (1, 10, 2)]
    for file, plane in zip(files, pixels, strict=True):
        tifffile.imwrite(file, plane)
    run: Any = SimpleNamespace(path=tmp_path / "run")
    trained = {"ER": [fingerprint(file)[0] for file in files]}
    (images,) = _unchanged(run, {"ER": files}, trained, "stop")
    np.testing.assert_array_equal(np.stack(images), pixels)
    tifffile.imwrite(files[1], pixels[1] + 1)
    with pytest.raises(InputError, match="not the image of ER"):
        _unchanged(run, {"ER": files}, trained, "stop")
