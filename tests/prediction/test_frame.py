"""Whole frames: every pixel once, tiles equal the whole, samples are functions of their address."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from denoisplit.data.pyramid import Pyramid
from denoisplit.images.tiling import tile_frame
from denoisplit.network.context import ContextVSE
from denoisplit.network.vse import VSE
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling, _keys, sample_patch

Array = NDArray[np.float32]


class Stub:
    """Two structures, x and 100 - x, plus noise of every latent pixel under it; no context at all.

    A posterior sample is linear in eps with known mean and std, and local: whatever differs between
    tilings is a fault of the tiles, not of a network.
    """

    structures = 2
    levels = 2
    stride = 4
    latents = 3
    fixed_patch = None
    needs_denoised_input = False

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.input_mean = torch.tensor(8.0)
        self.encoded: list[tuple[int, ...]] = []

    def normalise(self, raw: Tensor) -> Tensor:
        return (raw - self.input_mean) / 4

    def encode(self, x: Tensor) -> list[Tensor]:
        assert x.dtype == torch.float32
        assert x.shape[-2] % self.stride == x.shape[-1] % self.stride == 0
        self.encoded.append(tuple(x.shape))
        return [x, x]

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        return [(self.latents, height >> i, width >> i) for i in (1, 2)]

    def decode(self, features: list[Tensor], eps: list[Tensor]) -> Tensor:
        x = features[0]
        for e in eps:
            assert len(e) == len(x)
            scale = x.shape[-1] // e.shape[-1]
            blocks = e.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
            x = x + self.noise * blocks[:, :1] - self.noise * blocks[:, 2:]
        log_variance = torch.full_like(x, torch.nan)  # planes that are no means
        return torch.cat((x, -x, log_variance, log_variance), dim=1)

    def decoded_means(self, features: list[Tensor], raw: Tensor) -> Tensor:
        assert raw.shape == features[0].shape
        zero = [torch.zeros(1, *shape) for shape in self.latent_shapes(*raw.shape[-2:])]
        return self.to_raw(self.means(self.decode(features, zero)))

    def means(self, output: Tensor) -> Tensor:
        return output[:, :2]

    def to_raw(self, means: Tensor) -> Tensor:
        # x back in raw units, and 100 minus it
        return (
            means * torch.tensor([4.0, 4.0])[:, None, None]
            + torch.tensor([8.0, 92.0])[:, None, None]
        )

    @property
    def std(self) -> float:
        """Of a posterior sample, raw units: two levels of two independent channels."""
        return 4 * self.noise * 2


class Counting(Stub):
    """Counts the samples that are taken from it."""

    samples = 0

    def to_raw(self, means: Tensor) -> Tensor:
        for raw in super().to_raw(means):
            self.samples += 1
            yield raw


def frame_of(height: int, width: int, seed: int = 0) -> Array:
    """Integers: exact in float32 under all that the stub does."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1000, (height, width)).astype(np.float32)


def predict(
    model: Any, frame: NDArray[Any], *, tile: int = 16, halo: int = 4, **sampling: Any
) -> Any:
    return predict_frame(model, frame, Sampling(**sampling), tile=tile, halo=halo)


# ---------------------------------------------------------------- the identity


SIZES = [(1, 1), (5, 300), (300, 5), (1, 17), (4, 4), (16, 16), (31, 33), (64, 48), (101, 67)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("tile", "halo"), [(16, 0), (16, 4), (1, 8), (24, 64), (1000, 4)])
def test_the_identity_returns_the_frame(height: int, width: int, tile: int, halo: int) -> None:
    frame = frame_of(height, width)
    result = predict(Stub(), frame, tile=tile, halo=halo, samples=2, keep=2)
    expected = np.stack((frame, 100 - frame))
    # integers below 1000, scaled by powers of two: exact
    np.testing.assert_array_equal(result.mean, expected)
    np.testing.assert_array_equal(result.spread, np.zeros_like(expected))
    np.testing.assert_array_equal(result.samples, np.stack((expected, expected)))
    for array in result[:3]:
        assert array.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
def test_frames_of_any_type(dtype: Any) -> None:
    frame = (frame_of(20, 30) % 200).astype(dtype)
    result = predict(Stub(), frame, samples=1)
    np.testing.assert_array_equal(result.mean[0], frame.astype(np.float32))
    np.testing.assert_array_equal(frame, (frame_of(20, 30) % 200).astype(dtype))


@pytest.mark.parametrize(("halo", "margin"), [(0, 0), (16, 16), (32, 32), (64, 32)])
def test_the_network_sees_the_frame_reflected_beyond_its_border(halo: int, margin: int) -> None:
    frame = frame_of(6, 7)
    seen: list[Tensor] = []

    class Watching(Stub):
        def encode(self, x: Tensor) -> list[Tensor]:
            seen.append(x.clone())
            return super().encode(x)

    model = Watching()
    predict(model, frame, halo=halo, samples=1)
    # 6 and 7 px are filled up to 8, and the surroundings need several reflections; beyond 32 px
    # nothing is made up
    surroundings = ((margin, margin + 2), (margin, margin + 1))
    expected = model.normalise(torch.from_numpy(np.pad(frame, surroundings, mode="reflect")))
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0][0, 0], expected)


# ---------------------------------------------------------------- tiles and samples


@pytest.mark.parametrize("address", ["position", "content"])
@pytest.mark.parametrize(("height", "width"), [(61, 50), (5, 90), (1, 1)])
@pytest.mark.parametrize("antithetic", [False, True])
def test_samples_do_not_depend_on_tiles(
    address: str, height: int, width: int, antithetic: bool
) -> None:
    frame = frame_of(height, width, seed=1)
    model = Stub(noise=1.0)
    settings: dict[str, Any] = dict(address=address, antithetic=antithetic, samples=5, keep=3)
    whole = predict(model, frame, tile=1000, halo=8, **settings)
    assert whole.spread.min() > 0
    for tile, halo in ((16, 8), (8, 4), (32, 8)):
        tiled = predict(model, frame, tile=tile, halo=halo, **settings)
        # the same operations on the same numbers, pixel by pixel
        for of_tiles, of_whole in zip(tiled[:3], whole[:3], strict=True):
            np.testing.assert_array_equal(of_tiles, of_whole)


@pytest.mark.parametrize("address", ["position", "content"])
def test_same_seed_same_samples_and_other_seed_others(address: str) -> None:
    frame = frame_of(40, 40)
    one, same, other = (
        predict(Stub(noise=1.0), frame, address=address, samples=3, keep=3, seed=seed)
        for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(one.samples, same.samples)
    np.testing.assert_array_equal(one.spread, same.spread)
    # the two differ by independent noise in all but a few pixels
    assert (one.samples != other.samples).mean() > 0.99


def test_sample_k_is_one_image_however_many_are_drawn() -> None:
    frame = frame_of(30, 20)
    many = predict(Stub(noise=1.0), frame, samples=9, keep=9)
    for samples in (1, 2, 5, 8):
        few = predict(Stub(noise=1.0), frame, samples=samples, keep=samples)
        np.testing.assert_array_equal(few.samples, many.samples[:samples])


def test_batches_of_samples_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = frame_of(30, 20)
    together = predict(Stub(noise=1.0), frame, tile=1000, samples=7, keep=7)
    for pixels in (1, 2, 3000):  # one by one, and batches that tear pairs apart
        monkeypatch.setattr("denoisplit.prediction.sampling.BATCH_PIXELS", {"cpu": pixels})
        apart = predict(Stub(noise=1.0), frame, tile=1000, samples=7, keep=7)
        for a, b in zip(together[:3], apart[:3], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("pixels", "sizes"), [(28**2, [1] * 4), (4 * 28**2, [4])])
def test_a_pair_of_large_patches_is_decoded_one_by_one(
    pixels: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together it would take twice the memory, and on a CPU no less time."""
    monkeypatch.setattr("denoisplit.prediction.sampling.BATCH_PIXELS", {"cpu": pixels})
    model, decoded = Stub(noise=1.0), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda f, e: decoded.append(len(e[0])) or decode(f, e))
    predict(model, frame_of(20, 20), tile=1000, samples=4)
    assert decoded == sizes


def test_a_patch_is_encoded_once_however_many_samples() -> None:
    model = Stub(noise=1.0)
    predict(model, frame_of(20, 20), tile=1000, samples=50)
    assert model.encoded == [(1, 1, 28, 28)]


def test_mean_and_std_are_those_of_the_samples() -> None:
    result = predict(Stub(noise=1.0), frame_of(33, 20), samples=6, keep=6, antithetic=False)
    samples = result.samples.astype(np.float64)
    # float32 sums of values up to 1000: a few roundings of 6e-5
    np.testing.assert_allclose(result.mean, samples.mean(axis=0), rtol=0, atol=5e-4)
    np.testing.assert_allclose(result.spread, samples.std(axis=0, ddof=1), rtol=0, atol=1e-3)


def test_one_sample_has_no_std() -> None:
    frame = frame_of(20, 20)
    result = predict(Stub(noise=1.0), frame, samples=1, keep=1)
    assert result.spread is None
    np.testing.assert_array_equal(result.samples[0], result.mean)


@pytest.mark.parametrize("keep", [0, 1, 4])
def test_as_many_samples_are_kept_as_asked_for(keep: int) -> None:
    frame = frame_of(20, 24)
    result = predict(Stub(noise=1.0), frame, samples=4, keep=keep)
    assert result.samples.shape == (keep, 2, 20, 24)
    every = predict(Stub(noise=1.0), frame, samples=4, keep=4)
    np.testing.assert_array_equal(result.samples, every.samples[:keep])
    np.testing.assert_array_equal(result.mean, every.mean)


def test_a_mean_over_pairs_is_free_of_noise_where_the_decoder_is_linear() -> None:
    frame = frame_of(40, 30)
    expected = np.stack((frame, 100 - frame))
    model = Stub(noise=1.0)
    pairs = predict(model, frame, samples=4)
    # eps cancels but for the rounding of values up to 1000, a few times 6e-5
    np.testing.assert_allclose(pairs.mean, expected, rtol=0, atol=5e-4)
    # a single sample without its partner leaves a third of its noise
    torn = predict(model, frame, samples=3)
    assert np.std(torn.mean - expected) == pytest.approx(model.std / 3, rel=0.2)


def test_more_samples_smaller_error() -> None:
    """Independent samples: the error of the mean is std / sqrt(S)."""
    frame = frame_of(160, 160)
    model = Stub(noise=1.0)
    for samples in (1, 4, 16, 64):
        result = predict(model, frame, samples=samples, antithetic=False, tile=1000)
        error = (result.mean[0] - frame).astype(np.float64)
        # half of the variance is shared by cells of 4 x 4, so 1600 of them are the independent ones
        expected = model.std / math.sqrt(samples)
        assert error.std() == pytest.approx(expected, rel=5 / math.sqrt(2 * 1600))


@pytest.mark.parametrize("antithetic", [False, True])
def test_std_is_that_of_the_posterior(antithetic: bool) -> None:
    model = Stub(noise=1.0)
    result = predict(model, frame_of(160, 160), samples=6, antithetic=antithetic, tile=1000)
    variance = (result.spread[0].astype(np.float64) ** 2).mean()
    # chi-squared of at least 3 independent draws in 1600 cells
    assert variance == pytest.approx(model.std**2, rel=5 * math.sqrt(2 / (3 * 1600)))


def test_frames_of_other_content_get_other_noise_by_content_only() -> None:
    a, b = (frame_of(40, 40, seed=s) for s in (1, 2))

    def noise(frame: Array, address: str) -> Array:
        result = predict(Stub(noise=1.0), frame, samples=1, keep=1, address=address)
        difference: Array = result.samples[0, 0] - frame
        return difference

    # rounding of values up to 1000
    np.testing.assert_allclose(noise(a, "position"), noise(b, "position"), rtol=0, atol=5e-4)
    assert np.abs(np.corrcoef(noise(a, "content").ravel(), noise(b, "content").ravel())[0, 1]) < 0.2


def test_the_quantum_reaches_the_content_address() -> None:
    frame = frame_of(40, 40)
    coarse, same, fine = (
        predict(Stub(noise=1.0), f, samples=1, address="content", quantum=q).mean[0] - f
        for f, q in ((frame, 4.0), (np.floor(frame / 4) * 4, 4.0), (frame, 1.0))
    )
    np.testing.assert_allclose(coarse, same, rtol=0, atol=5e-4)
    assert np.abs(coarse - fine).max() > 1


def test_sample_patch_at_a_place_is_the_frame_there() -> None:
    frame = frame_of(48, 64)
    model: Any = Stub(noise=1.0)
    sampling = Sampling(samples=2, keep=2)
    whole = predict_frame(model, frame, sampling, tile=1000, halo=0)
    patch = sample_patch(model, frame[8:32, 20:60], sampling, y=8, x=20)
    for k, sample in enumerate(patch):
        np.testing.assert_array_equal(sample.numpy(), whole.samples[k, :, 8:32, 20:60])


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_progress_is_reported_sample_by_sample(samples: int) -> None:
    calls: list[float] = []
    predict_frame(
        Stub(),  # type: ignore[arg-type]
        frame_of(40, 20),
        Sampling(samples=samples),
        tile=16,
        halo=4,
        on_progress=calls.append,
    )
    cores = tile_frame(40, 20, tile=16, stride=4)
    assert len(cores) > 1
    steps = len(cores) * max(1, samples)
    np.testing.assert_allclose(calls, np.arange(1, steps + 1) / steps)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "settings",
    [
        {"tolerance": -1.0},
        {"samples": -1},
        {"samples": 2, "keep": 3},
        {"keep": -1},
        {"address": "place"},
    ],
)
def test_impossible_sampling_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Sampling(**settings)


def test_a_stack_or_a_halo_off_the_stride_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 8, 8\).*\(Y, X\)"):
        predict(Stub(), np.zeros((2, 8, 8)))
    with pytest.raises(ValueError, match="halo is 6 px.*multiple of 4"):
        predict(Stub(), np.zeros((8, 8)), halo=6)


# ---------------------------------------------------------------- a network


def network(**settings: Any) -> VSE:
    torch.manual_seed(0)
    model = VSE(filters=8, latents=4, patch=32, **settings)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    model.input_mean.fill_(500.0)
    model.input_std.fill_(290.0)
    model.target_mean.copy_(torch.tensor([200.0, 300.0]))
    model.target_std.copy_(torch.tensor([100.0, 150.0]))
    return model.eval()


@pytest.mark.parametrize(("height", "width"), [(45, 620), (620, 45)])
def test_tiles_of_a_network_equal_the_whole(height: int, width: int) -> None:
    """The receptive radius is 239 px: a halo of 240 leaves rounding only."""
    model, frame = network(), frame_of(height, width)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.mul_(2)  # initial weights hardly reach beyond 32 px
    settings: dict[str, Any] = dict(samples=2, keep=2)
    whole = predict(model, frame, tile=1000, halo=240, **settings)
    tiled = predict(model, frame, tile=64, halo=240, **settings)
    data_range = np.ptp(whole.mean)
    for a, b in zip(tiled[:3], whole[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * data_range)
    # with less context tiles do differ: the test sees what it should
    less = predict(model, frame, tile=64, halo=64, **settings)
    assert np.abs(less.mean - whole.mean).max() > 1e-2 * data_range


def test_a_frame_is_the_network_decoded_with_its_noise() -> None:
    """One tile, no halo: nothing but encode, addressed noise, decode, raw units."""
    from denoisplit.network.addressed_noise import addressed_noise, normal_table, position_keys

    model, frame = network(log_variance=True), frame_of(32, 48)
    result = predict(model, frame, tile=256, halo=0, samples=3, keep=3, seed=11, antithetic=False)
    keys = [position_keys(i, 0, 0, h, w) for i, (_, h, w) in enumerate(model.latent_shapes(32, 48))]
    table = normal_table()
    with torch.inference_mode():
        x = (torch.from_numpy(frame)[None, None] - 500) / 290
        for k in range(3):
            eps = addressed_noise(keys, [k], seed=11, channels=4, antithetic=False, table=table)
            planes = model.decode(model.encode(x), eps)[0, :2]
            expected = planes.numpy() * np.array([100.0, 150.0])[:, None, None]
            expected += np.array([200.0, 300.0])[:, None, None]
            # single and batched convolutions differ by rounding, 1e-6 of values up to a few 100
            np.testing.assert_allclose(result.samples[k], expected, rtol=0, atol=1e-2)


def test_every_structure_count_predicts() -> None:
    for structures in (1, 2, 3):
        model = VSE(structures, filters=4, latents=2, levels=2, patch=8).eval()
        result = predict(model, frame_of(9, 13), halo=8, samples=2)
        assert result.mean.shape == result.spread.shape == (structures, 9, 13)
        assert np.isfinite(result.mean).all()


def test_nothing_is_recorded_for_gradients() -> None:
    model = network()
    samples = list(
        itertools.islice(sample_patch(model, frame_of(32, 32), Sampling(samples=2), y=0, x=0), 2)
    )
    assert not any(s.requires_grad for s in samples)


class OnDisk:
    """A frame that notes what is read of it."""

    def __init__(self, image: Array) -> None:
        self.image, self.shape = image, image.shape
        self.read = 0

    def __getitem__(self, where: Any) -> Array:
        part = self.image[where]
        self.read = max(self.read, part.size)
        return part


def test_of_a_frame_on_disk_only_what_a_tile_sees_is_read() -> None:
    image = frame_of(300, 280)
    lazy, sampling = OnDisk(image), Sampling(2)
    found = predict_frame(Stub(1.0), lazy, sampling, tile=32, halo=8)
    np.testing.assert_array_equal(
        found.mean, predict_frame(Stub(1.0), image, sampling, tile=32, halo=8).mean
    )
    assert lazy.read <= (36 + 16) ** 2


# ---------------------------------------------------------------- effort


def test_no_samples_are_the_means_of_the_latents() -> None:
    """In one pass: the stub is linear, so that is the exact mean of its samples."""
    model, image = Stub(noise=3.0), frame_of(40, 52)
    found = predict_frame(model, image, Sampling(0), tile=16, halo=8)
    np.testing.assert_allclose(found.mean, predict_frame(Stub(0.0), image, Sampling(1)).mean)
    assert found.spread is None and found.samples.shape == (0, 2, 40, 52)


@pytest.mark.parametrize("antithetic", [False, True])
def test_a_tile_stops_when_its_mean_is_known(antithetic: bool) -> None:
    image = frame_of(64, 64)
    drawn = Counting(noise=2.0)
    few = predict_frame(
        drawn, image, Sampling(400, antithetic=antithetic, tolerance=1.0), tile=64, halo=0
    )
    exact = predict_frame(Stub(0.0), image, Sampling(1), tile=64, halo=0).mean
    error = np.sqrt(((few.mean - exact) ** 2).mean())
    if antithetic:  # pairs cancel: the mean of the stub is exact after one
        assert drawn.samples == 8 and error < 1e-3
    else:
        needed = float((few.spread**2).mean())  # samples for a standard error of 1
        assert 0.7 * needed < drawn.samples < 1.4 * needed + 4
        assert error < 1.3
    # the same samples as without a tolerance, as far as they go
    plain = Sampling(drawn.samples, antithetic=antithetic)
    same = predict_frame(Stub(2.0), image, plain, tile=64, halo=0)
    np.testing.assert_allclose(few.mean, same.mean, rtol=1e-5, atol=1e-4)


def test_a_tolerance_out_of_reach_draws_all_samples() -> None:
    strict = Counting(noise=2.0)
    predict_frame(strict, frame_of(64, 64), Sampling(6, antithetic=False, tolerance=1e-9))
    assert strict.samples == 6


# ---------------------------------------------------------------- context


def with_context(**settings: Any) -> ContextVSE:
    torch.manual_seed(0)
    model = ContextVSE(2, **{"filters": 4, "latents": 3, "patch": 32, "planes": 3} | settings)
    for name, parameter in model.named_parameters():
        if "latent_out.weight" in name:
            parameter.data.mul_(4)
    return model.eval()


def test_a_network_with_context_predicts_patches_of_its_own_side() -> None:
    """The middle half of each; every pixel once, whatever tiling is asked for."""
    model, image = with_context(), frame_of(70, 45)
    sampling = Sampling(3, seed=2, keep=3)
    found = predict_frame(model, image, sampling, tile=1000, halo=96)
    assert found.mean.shape == (2, 70, 45) and np.isfinite(found.mean).all()
    again = predict_frame(model, image, sampling, tile=16, halo=0)
    np.testing.assert_array_equal(found.mean, again.mean)
    np.testing.assert_allclose(found.mean, found.samples.mean(axis=0), rtol=1e-4, atol=1e-4)
    # the patch at (16, 0), cut by hand
    planes = Pyramid(image, planes=3, patch=32, margin=32).cut(16 - 8, -8)
    samples = torch.stack(list(sample_patch(model, planes, sampling, y=8, x=-8)))
    np.testing.assert_array_equal(samples[..., 8:24, 8:24].numpy(), found.samples[..., 16:32, :16])


def test_noise_of_context_is_that_of_its_place() -> None:
    """Latents that two patches share have the same eps: level 0 of a neighbour, shifted."""
    model = with_context()
    raw = torch.zeros(3, 32, 32)
    one, other = (_keys(model, raw, Sampling(1), y, 0) for y in (0, 16))
    assert [tuple(key.shape) for key in one] == [(32, 32), (32, 32), (16, 16), (8, 8)]
    for level, (a, b) in enumerate(zip(one, other, strict=True)):
        step = 16 >> (level + 1)
        assert torch.equal(a[step:], b[:-step])
