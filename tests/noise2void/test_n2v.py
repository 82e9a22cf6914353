"""Noise2Void: what is hidden, what is learnt, and what interrupts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from denoisplit.config.groups import N2VSettings
from denoisplit.config.settings import settings_from
from denoisplit.data.patches import RandomCrops
from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.noise2void import N2V, masking, n2v, train_n2v
from denoisplit.noise2void import frames as n2v_frames
from denoisplit.noise2void.frames import hold_out, patch_side
from denoisplit.noise2void.masking import Batch, masked_batch, replacements
from denoisplit.noise2void.n2v import masked_error

TINY = N2VSettings(filters=4, batch=2, masked=0.02, max_steps=9)
CLEAN = simulate("filaments", frames=2, size=96, seed=3)
NOISY = [*(100 + 8 * np.random.default_rng(3).poisson(CLEAN / 8)).astype(np.uint16)]


@pytest.fixture(autouse=True)
def small_patches_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where results are the same to the bit."""
    monkeypatch.setattr(n2v_frames, "PATCH", 16)
    monkeypatch.setattr(n2v, "default_device", lambda: torch.device("cpu"))


def tiny(**values: Any) -> N2VSettings:
    return N2VSettings(**TINY.model_dump() | values)


def crops_of(*groups: Any, patch: int = 16, seed: int = 0) -> RandomCrops:
    return RandomCrops(groups, patch=patch, seed=seed, independent=False, augment=True)


def same_weights(a: N2V, b: N2V) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[key]) for key, value in a.state_dict().items())


def fresh() -> N2V:
    """An untrained denoiser of some statistics."""
    torch.manual_seed(0)
    model = N2V(4)
    model.mean.fill_(120.0)
    model.std.fill_(30.0)
    return model.eval()


# ---------------------------------------------------------------- hidden pixels


@pytest.mark.parametrize(("masked", "expected"), [(0.002, 8), (0.03, 123), (1e-6, 1)])
def test_the_share_asked_for_is_hidden(masked: float, expected: int) -> None:
    batch = masked_batch(crops_of(NOISY, patch=64), range(5), masked=masked, use=1)
    places = torch.stack(batch.where)
    assert places.shape == (3, 5 * expected)
    assert torch.unique(places, dim=1).shape == places.shape  # none twice
    assert torch.bincount(batch.where[0]).tolist() == [expected] * 5


def test_only_hidden_pixels_differ_and_the_targets_are_what_they_were() -> None:
    crops = crops_of([np.arange(32.0 * 40).reshape(32, 40)])  # no value twice
    batch = masked_batch(crops, range(6), masked=0.02, use=1)
    original = torch.stack([crops[number] for number in range(6)])
    i, y, x = batch.where
    differs = torch.zeros_like(original, dtype=torch.bool)
    differs[i, 0, y, x] = True
    assert torch.equal(batch.images != original, differs)
    assert torch.equal(batch.targets, original[i, 0, y, x])


def test_every_pixel_is_hidden_equally_often() -> None:
    batch = masked_batch(crops_of(NOISY), range(4000), masked=0.02, use=1)
    counts = torch.bincount(batch.where[1] * 16 + batch.where[2], minlength=256)
    assert counts.sum() == 4000 * 5
    assert (counts - 4000 * 5 / 256).abs().max() < 5 * np.sqrt(4000 * 5 / 256)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (8, 8), (3, 15), (15, 7)])
def test_a_replacement_is_any_neighbour_but_the_pixel_itself(
    y: int, x: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "NEIGHBOURHOOD", 7)
    n, rng = 20_000, np.random.default_rng(0)
    drawn = replacements(np.full(n, y), np.full(n, x), side=16, rng=rng)
    expected = {
        (a, b) for a in range(y - 3, y + 4) for b in range(x - 3, x + 4)
        if 0 <= a < 16 and 0 <= b < 16 and (a, b) != (y, x)
    }  # fmt: skip
    places, counts = np.unique(np.stack(drawn), axis=1, return_counts=True)
    assert set(zip(*places.tolist(), strict=True)) == expected
    mean = n / len(expected)
    assert np.abs(counts - mean).max() < 5 * np.sqrt(mean)


def test_no_hidden_pixel_reaches_its_own_prediction() -> None:
    """Neither through the network, nor as the replacement of another hidden pixel's prediction."""
    crops = crops_of([np.random.default_rng(0).normal(120, 30, (16, 16))])
    model = fresh()
    batch = masked_batch(crops, [0], masked=1 / 256, use=1)
    _, y, x = (int(index) for index in batch.where)
    images = batch.images.clone().requires_grad_()
    masked_error(model, batch._replace(images=images)).backward()
    assert images.grad is not None and images.grad[0, 0, y, x] != 0  # of the replacement

    # the same crop with another value under the mask: the same input, prediction and place
    class Changed(RandomCrops):
        def __getitem__(self, number: int) -> torch.Tensor:
            crop = super().__getitem__(number).clone()
            crop[0, y, x] += 1000
            return crop

    changed = Changed(crops.frames, patch=16, seed=0, independent=False, augment=True)
    again = masked_batch(changed, [0], masked=1 / 256, use=1)
    assert torch.equal(again.images, batch.images)
    assert again.targets.item() == pytest.approx(batch.targets.item() + 1000)


def test_the_error_is_that_of_the_hidden_pixels_in_units_of_the_spread() -> None:
    model = fresh()
    images = torch.full((2, 1, 8, 8), 120.0)
    with torch.no_grad():
        output = model(images)
    where = (torch.tensor([0, 1, 1]), torch.tensor([2, 3, 0]), torch.tensor([7, 4, 0]))
    targets = output[where[0], 0, where[1], where[2]] + torch.tensor([30.0, -60.0, 0.0])
    assert masked_error(model, Batch(images, targets, where)).item() == pytest.approx(5, rel=1e-4)


def test_hidden_pixels_are_a_function_of_seed_use_and_number() -> None:
    def where(seed: int, use: int, number: int) -> torch.Tensor:
        batch = masked_batch(crops_of(NOISY, seed=seed), [number], masked=0.02, use=use)
        return torch.cat((torch.stack(batch.where).flatten(), batch.images.flatten().long()))

    first = where(0, 1, 7)
    assert torch.equal(first, where(0, 1, 7))
    assert not torch.equal(first, where(1, 1, 7))
    assert not torch.equal(first, where(0, 2, 7))
    assert not torch.equal(first, where(0, 1, 8))
    whole = masked_batch(crops_of(NOISY), [6, 7], masked=0.02, use=1)
    assert torch.equal(
        whole.images[1], masked_batch(crops_of(NOISY), [7], masked=0.02, use=1).images[0]
    )


def test_invalid_pixels_are_never_predicted() -> None:
    frame = np.random.default_rng(0).integers(0, 200, (40, 40))
    valid = frame < 100
    batch = masked_batch(crops_of([frame], [valid]), range(400), masked=0.02, use=1)
    assert batch.targets.max() == 99
    assert len(batch.targets) == 400 * 5
    # fewer than asked for, or none, where there are not more
    few = np.zeros((16, 16), dtype=bool)
    few[3, 5:7] = True
    for mask, count in ((few, 2), (few & False, 0)):
        batch = masked_batch(crops_of([frame[:16, :16]], [mask]), range(3), masked=0.02, use=1)
        assert len(batch.targets) == 3 * count


def test_training_leaves_invalid_pixels_out() -> None:
    """They are in the way of nothing but the input: their mean is not learnt, nor their spread."""
    spoilt, valid = [], []
    rng = np.random.default_rng(0)
    for frame in NOISY:
        bad = rng.random(frame.shape) < 0.1
        spoilt.append(np.where(bad, 60_000, frame))
        valid.append(~bad)
    model = train_n2v(spoilt, TINY, seed=0, valid=valid)
    values = np.concatenate([f[v] for f, v in zip(spoilt, valid, strict=True)])
    assert model.mean.item() == pytest.approx(values.mean(), rel=1e-5)
    assert model.std.item() == pytest.approx(values.std(), rel=1e-4)
    assert not same_weights(model, train_n2v(spoilt, TINY, seed=0))


# ---------------------------------------------------------------- what is learnt


def test_a_denoised_image_is_nearer_to_the_clean_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Gaussian filter of the best width gains 5.4 dB here, a copy none."""
    monkeypatch.setattr(n2v_frames, "PATCH", 32)
    settings = N2VSettings(filters=8, batch=8, masked=0.03, learning_rate=3e-3, max_steps=200)
    model = train_n2v(NOISY, settings, seed=0)
    gains = []
    for clean, noisy in zip(CLEAN, NOISY, strict=True):
        errors = [np.mean((image - clean - 100.0) ** 2) for image in (noisy, model.denoise(noisy))]
        gains.append(10 * np.log10(errors[0] / errors[1]))
    assert min(gains) > 5.0


@pytest.mark.parametrize("scale", [1e-3, 300.0])
def test_units_do_not_matter(scale: float) -> None:
    plain = train_n2v(NOISY, TINY, seed=0).denoise(NOISY[0])
    scaled = [frame * scale for frame in NOISY]
    again = train_n2v(scaled, TINY, seed=0).denoise(scaled[0])
    np.testing.assert_allclose(again / scale, plain, rtol=1e-3)


@pytest.mark.parametrize("schedule", [{"max_steps": 9}, {"max_steps": None, "max_epochs": 1}])
def test_a_seed_is_one_training(schedule: dict[str, Any]) -> None:
    state = torch.random.get_rng_state()
    first = train_n2v(NOISY, tiny(**schedule), seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    np.random.default_rng()
    assert same_weights(first, train_n2v(NOISY, tiny(**schedule), seed=4))
    assert not same_weights(first, train_n2v(NOISY, tiny(**schedule), seed=5))
    assert not first.training


def test_a_cosine_makes_the_steps_asked_for_and_ends_at_no_rate() -> None:
    training = n2v._Training(NOISY, None, TINY, 0)
    rates = []
    for _ in range(training.steps):
        training.advance()
        rates.append(training.optimiser.param_groups[0]["lr"])
    expected = 4e-4 * 0.5 * (1 + np.cos(np.pi * np.arange(9) / 9))
    np.testing.assert_allclose(rates, expected)


def test_epochs_and_a_rate_that_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny(max_steps=None, max_epochs=6, max_steps_per_epoch=3)
    monkeypatch.setattr(n2v, "PLATEAU_PATIENCE", 1)
    training = n2v._Training(NOISY, None, settings, 0)
    assert (training.per_epoch, training.steps) == (3, 18)
    errors = iter([1.0, 2.0, 2.0, 0.5, 2.0, 2.0])
    monkeypatch.setattr(training, "validate", lambda held: next(errors))
    rates = []
    for _ in range(18):
        training.advance()
        rates.append(training.optimiser.param_groups[0]["lr"] / 4e-4)
    assert rates == [1.0] * 8 + [0.5] * 9 + [0.25]


@pytest.mark.parametrize(
    ("shapes", "training", "held"),
    [
        ([(64, 64)] * 20, [(64, 64)] * 18, [(64, 64)] * 2),
        ([(64, 64), (96, 64)], [(64, 64), (64, 64)], [(32, 64)]),
        ([(64, 500)], [(64, 450)], [(64, 50)]),
        ([(64, 64), (40, 40)], [(64, 64)], [(40, 40)]),
        ([(40, 40)], [(40, 40)], [(40, 40)]),
    ],
)
def test_a_part_is_held_out(shapes: Any, training: Any, held: Any) -> None:
    parts = hold_out([np.zeros(shape) for shape in shapes], 32)
    assert [[frame.shape for frame in part] for part in parts] == [training, held]


@pytest.mark.parametrize(("sides", "patch"), [([96, 70], 64), ([96, 39], 36), ([16, 900], 16)])
def test_patches_are_no_larger_than_the_smallest_frame(
    sides: list[int], patch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert patch_side([np.zeros((side, 200)) for side in sides]) == patch


def test_the_held_out_part_is_judged_and_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(n2v_frames, "PATCH", 32)
    seen: list[np.ndarray[Any, Any]] = []
    frames = [*NOISY[:1], np.full((96, 96), 7)]
    frames[1][:60] = NOISY[1][:60]
    training = n2v._Training(frames, None, tiny(max_steps=None), 0)
    assert training.held is not None
    seen = [training.crops[number].numpy() for number in range(200)]
    assert not any((crop == 7).all(axis=2).sum() > 4 for crop in seen)
    assert (training.held[0] == 7).all()
    first = training.validate(training.held)
    assert training.validate(training.held) == first
    spread = training.model.std.item()
    assert 0 < first < 100 * ((100 - 7) / spread) ** 2


# ---------------------------------------------------------------- interruptions


@pytest.mark.parametrize(
    "schedule",
    [
        {"max_steps": 9},
        {"max_steps": None, "max_epochs": 3, "max_steps_per_epoch": 3, "learning_rate": 0.1},
    ],
    ids=["cosine", "plateau"],
)  # fmt: skip
@pytest.mark.parametrize("stop", [2, 6, 7])
def test_an_interrupted_training_gives_the_same_weights(
    schedule: dict[str, Any], stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(n2v, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(n2v, "PLATEAU_PATIENCE", 1)
    settings, checkpoint = tiny(**schedule), tmp_path / "n2v.ckpt"

    def interrupt(done: int, steps: int) -> None:
        assert steps == 9
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_n2v(NOISY, settings, seed=0, checkpoint=checkpoint, on_step=interrupt)
    steps: list[int] = []
    resumed = train_n2v(
        NOISY, settings, seed=0, checkpoint=checkpoint, on_step=lambda done, _: steps.append(done)
    )
    assert steps == list(range(stop // 2 * 2 + 1, 10))
    assert same_weights(resumed, train_n2v(NOISY, settings, seed=0))
    # a finished one is not repeated
    steps.clear()
    again = train_n2v(
        NOISY, settings, seed=0, checkpoint=checkpoint, on_step=lambda done, _: steps.append(done)
    )
    assert not steps and same_weights(again, resumed)
    assert [path.name for path in tmp_path.iterdir()] == ["n2v.ckpt"]


@pytest.mark.parametrize("change", ["seed", "settings", "frames", "valid"])
def test_the_checkpoint_of_another_training_is_refused(change: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "n2v.ckpt"
    train_n2v(NOISY, TINY, seed=0, checkpoint=checkpoint)
    frames = [NOISY[0], NOISY[1] + 1] if change == "frames" else NOISY
    with pytest.raises(
        InputError,
        match=r"n2v\.ckpt: the checkpoint belongs to a training with other .*; remove it",
    ):
        train_n2v(
            frames,
            tiny(batch=3) if change == "settings" else TINY,
            seed=int(change == "seed"),
            valid=[np.ones((96, 96), dtype=bool)] * 2 if change == "valid" else None,
            checkpoint=checkpoint,
        )


def test_checkpoints_name_the_constants_that_were_settings_once() -> None:
    """So those of earlier versions, which have them among the settings, still match."""
    identity: Any = n2v._Training(NOISY, None, TINY, 0).identity
    before = {"depth": 2, "patch": 16, "neighbourhood": 11, "plateau_patience": 10}
    assert identity["settings"] == TINY.model_dump() | before


def test_a_checkpoint_is_data(tmp_path: Path) -> None:
    checkpoint = tmp_path / "n2v.ckpt"
    train_n2v(NOISY, tiny(max_steps=1), seed=0, checkpoint=checkpoint)
    assert torch.load(checkpoint, weights_only=True)["step"] == 1
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(InputError, match=r"n2v\.ckpt: this checkpoint is unreadable"):
        train_n2v(NOISY, tiny(max_steps=1), seed=0, checkpoint=checkpoint)


# ---------------------------------------------------------------- frames of any size


@pytest.mark.parametrize("shape", [(150, 133), (1, 1), (3, 70), (64, 64)])
def test_tiled_equals_whole(shape: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).normal(120, 30, shape)
    model = fresh()
    whole = model.denoise(frame, tile=10_000)
    assert whole.shape == shape and whole.dtype == np.float32
    for tile in (16, 50):
        np.testing.assert_allclose(model.denoise(frame, tile=tile), whole, atol=2e-4)


def test_a_smaller_margin_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = np.random.default_rng(0).normal(120, 30, (96, 96))
    model = fresh()
    whole = model.denoise(frame)[40:56, 40:56]
    monkeypatch.setattr(n2v, "MARGIN", 8)
    assert np.abs(model.denoise(frame, tile=16)[40:56, 40:56] - whole).max() > 0.01


def test_no_patch_is_much_larger_than_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    forward = N2V.forward

    def recorded(model: N2V, raw: torch.Tensor) -> torch.Tensor:
        sizes.append(raw.numel())
        return forward(model, raw)

    monkeypatch.setattr(N2V, "forward", recorded)
    fresh().denoise(np.ones((700, 300)), tile=100)
    assert max(sizes) < (150 + 2 * 24) ** 2


# ---------------------------------------------------------------- bad input


def refusal(frames: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        train_n2v(frames, TINY, seed=0, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_frames_that_cannot_be_trained_on_are_refused_in_one_line() -> None:
    good = np.random.default_rng(0).normal(size=(20, 20))
    broken = good.copy()
    broken[3, 4:6] = np.nan, np.inf
    assert "no frames" in refusal([])
    assert "frame 1: 2 pixels are not finite" in refusal([good, broken])
    assert "frame 0: found 15 x 20 px, expected at least 16 x 16 px" in refusal([good[:15]])
    assert "frame 1: found shape (2, 20, 20), expected a plane (Y, X)" in refusal(
        [good, np.stack((good, good))]
    )
    assert "every pixel has the value 100" in refusal([np.full((20, 20), 100)])


def test_masks_that_do_not_match_are_refused_in_one_line() -> None:
    good = np.random.default_rng(0).normal(size=(20, 20))
    valid = np.ones((20, 20), dtype=bool)
    assert "1 masks of valid pixels for 2 frames" in refusal([good, good], valid=[valid])
    assert "of shape (20, 19) and type bool" in refusal([good], valid=[valid[:, 1:]])
    assert "type uint8" in refusal([good], valid=[valid.astype(np.uint8)])
    assert "all pixels are saturated or clipped" in refusal([good], valid=[~valid])
    one = ~valid
    one[3, 3] = True
    assert "every pixel has the value" in refusal([good], valid=[one])


def test_a_diverging_training_ends() -> None:
    frames = [frame.astype(np.float64) for frame in NOISY]
    with pytest.raises(
        InputError, match=r"Noise2Void training: the loss is (nan|inf).*n2v\.learning"
    ):
        train_n2v(frames, tiny(learning_rate=1e12), seed=0)


def test_a_frame_that_cannot_be_denoised_is_refused_in_one_line() -> None:
    frame = np.ones((8, 8))
    frame[2, 2] = np.inf
    for bad in (frame, np.ones(8), np.ones((0, 8))):
        with pytest.raises(InputError, match="frame to denoise"):
            fresh().denoise(bad)


# ---------------------------------------------------------------- settings


def test_settings_of_the_presets() -> None:
    structures = [{"name": "ER", "files": ["er.tif"]}]
    for preset in ("default", "paper"):
        assert settings_from({"structures": structures, "preset": preset}).n2v == N2VSettings()
    small = settings_from({"structures": structures, "preset": "small"}).n2v
    assert small.max_steps == 1500 and small.filters < 32


@pytest.mark.parametrize("wrong", [{"filters": 0}, {"masked": 0.0}, {"learning_rate": 0.0}])
def test_invalid_settings_are_refused(wrong: dict[str, Any]) -> None:
    values = {"structures": [{"name": "ER", "files": ["er.tif"]}], "n2v": wrong}
    with pytest.raises(InputError, match=r"settings: n2v\.\w+ = .* is not valid"):
        settings_from(values)
