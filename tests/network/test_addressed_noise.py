"""Addressed noise is white Gaussian noise and a pure function of its address; running moments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoisplit.network.addressed_noise import (
    NEIGHBOUR,
    PRIME,
    ROUND_A,
    ROUND_B,
    ROUND_C,
    TABLE_BITS,
    addressed_noise,
    channel_keys,
    content_keys,
    mix,
    normal_table,
    position_keys,
    standard_normal,
)
from denoisplit.prediction.moments import RunningMoments

LEVELS = 4
STRIDE = 2**LEVELS
SIGMAS = 5.0  # of a mean over many independent values: exceeded by chance once in 2e6


def image(kind: str, side: int = 1024, seed: int = 0) -> Tensor:
    """A raw frame of counts (1, Y, X)."""
    rng = np.random.default_rng(seed)
    mean = {"sparse": 0.1, "poisson 1": 1.0, "poisson 100": 100.0, "saturated": 100.0}[kind]
    frame = rng.poisson(mean, (1, side, side)).astype(np.float32)
    return torch.from_numpy(frame.clip(max=95.0) if kind == "saturated" else frame)


def keys_by_position(level: int) -> Tensor:
    side = 1024 >> (level + 1)
    return position_keys(level, 0, 0, side, side)


def keys_by_content(kind: str) -> Callable[[int], Tensor]:
    keys = content_keys(image(kind), levels=LEVELS, quantum=1.0)
    return lambda level: keys[level][0]


SOURCES = ("position", "sparse", "poisson 1", "poisson 100", "saturated")


@pytest.fixture(scope="module", params=SOURCES)
def keys(request: pytest.FixtureRequest) -> Callable[[int], Tensor]:
    """Keys (h, w) of a level of a frame of 1024 px."""
    if request.param == "position":
        return keys_by_position
    return keys_by_content(request.param)


def field(
    key: Tensor, *, seed: int = 0, draw: int = 0, level: int = 0, channels: int = 1
) -> NDArray[np.float64]:
    """eps (Z, h, w) in float64."""
    of_channel = channel_keys(seed, draw, level, channels)
    return standard_normal(key, of_channel, normal_table()).double().numpy()


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Correlation times sqrt(n): standard normal where a and b are independent."""
    return float((a * b).mean() / math.sqrt((a * a).mean() * (b * b).mean()) * math.sqrt(a.size))


# ---------------------------------------------------------------- the table


def test_table_is_the_standard_normal() -> None:
    table = normal_table().double()
    n = 2**TABLE_BITS
    assert table.shape == (n,)
    assert normal_table().dtype == torch.float32
    assert (table.diff() > 0).all()
    torch.testing.assert_close(table, -table.flip(0), rtol=0, atol=0)
    # values are rounded to float32: relative 6e-8
    assert table.square().mean().item() == pytest.approx(1, abs=1e-7)
    # value i cuts off the share (i + 1/2) / n, but for the factor that makes the std 1
    share = torch.special.ndtr(table)
    expected = (torch.arange(n) + 0.5) / n
    torch.testing.assert_close(share, expected.double(), rtol=0, atol=1e-4)
    assert table.max() > 4.3


# ---------------------------------------------------------------- integer arithmetic


class Bounded:
    """Python integers of any size, which must never need more than 63 bits."""

    @staticmethod
    def check(value: int) -> int:
        assert 0 <= value < 2**63
        return value

    @classmethod
    def round(cls, h: int, multiplier: int) -> int:
        return cls.check((h + h // 2**15) * multiplier) % PRIME

    @classmethod
    def mix(cls, h: int, value: int) -> int:
        h = cls.round((h + value) % PRIME, ROUND_A)
        square = cls.check(h * h) % PRIME
        fourth = cls.check(square * square) % PRIME
        return cls.round(cls.check(fourth * h) % PRIME, ROUND_B)

    @classmethod
    def index(cls, key: int, channel: int) -> int:
        return cls.round(cls.check(key * channel) % PRIME, ROUND_C) // 2 ** (31 - TABLE_BITS)


EXTREMES = [0, 1, 2, 2**15 - 1, 2**15, 2**16, 2**30, PRIME - 2, PRIME - 1]


def test_mixing_is_that_of_python_integers() -> None:
    rng = np.random.default_rng(0)
    hashes = [*EXTREMES, *rng.integers(0, PRIME, 200).tolist()]
    values = [*EXTREMES, PRIME, *rng.integers(0, 2**31, 60).tolist()]
    found = mix(torch.tensor(hashes)[:, None], torch.tensor(values)[None])
    expected = [[Bounded.mix(h, v) for v in values] for h in hashes]
    assert found.tolist() == expected
    assert mix(torch.tensor(hashes), 77).tolist() == [Bounded.mix(h, 77) for h in hashes]


def test_noise_is_that_of_python_integers() -> None:
    rng = np.random.default_rng(1)
    pixel = [*EXTREMES[1:], *rng.integers(1, PRIME, 100).tolist()]
    channel = [*EXTREMES[1:], *rng.integers(1, PRIME, 20).tolist()]
    table = normal_table()
    found = standard_normal(torch.tensor([pixel]), torch.tensor(channel), table)
    expected = [[[table[Bounded.index(k, c)].item() for k in pixel]] for c in channel]
    assert found.tolist() == expected


def test_keys_of_addresses_are_those_of_python_integers() -> None:
    for seed, draw, level in ((0, 0, 0), (2**31 - 1, 10**6, 7)):
        h = Bounded.mix(Bounded.mix(Bounded.mix(0, seed), draw), level)
        expected = [1 + Bounded.mix(h, c) % (PRIME - 1) for c in range(5)]
        assert channel_keys(seed, draw, level, 5).tolist() == expected
    far = 10**9
    for y, x in ((0, 0), (-(2**20), -1), (far, far)):
        start = Bounded.mix(0, 3)
        expected = [
            [
                1 + Bounded.mix(Bounded.mix(start, y + i + 2**20), x + j + 2**20) % (PRIME - 1)
                for j in range(3)
            ]
            for i in range(2)
        ]
        assert position_keys(3, y, x, 2, 3).tolist() == [*expected]


def content_keys_of_python(
    raw: NDArray[np.int64], levels: int, quantum: int
) -> list[list[list[int]]]:
    """Content keys of an image (Y, X) by the same steps in Python integers."""
    stride = 2**levels
    rows, columns = raw.shape[0] // stride, raw.shape[1] // stride
    weights = [Bounded.mix(0, i) % 2**22 for i in range(stride * stride)]
    cells: dict[tuple[int, int], int] = {}
    for r, c in itertools.product(range(rows), range(columns)):
        cell = raw[r * stride : (r + 1) * stride, c * stride : (c + 1) * stride].ravel().tolist()
        total = sum(v // quantum % PRIME * w for v, w in zip(cell, weights, strict=True))
        cells[r, c] = Bounded.mix(total % PRIME, 0)
    joined: dict[tuple[int, int], int] = {}
    for r, c in cells:
        h = 0
        for dy, dx in itertools.product(range(3), range(3)):
            part = cells.get((r + dy - 1, c + dx - 1), 0)
            h = Bounded.check(h + part * NEIGHBOUR[dy][dx]) % PRIME
        joined[r, c] = h
    keys = []
    for level in range(levels):
        n = stride >> (level + 1)
        keys.append(
            [
                [
                    1
                    + Bounded.mix(
                        joined[y // n, x // n],
                        Bounded.mix(0, (y % n) * n + x % n + (level << 16)),
                    )
                    % (PRIME - 1)
                    for x in range(columns * n)
                ]
                for y in range(rows * n)
            ]
        )
    return keys


@pytest.mark.parametrize("levels", [1, 3, 4])
@pytest.mark.parametrize("quantum", [1, 4])
def test_content_keys_are_those_of_python_integers(levels: int, quantum: int) -> None:
    rng = np.random.default_rng(levels)
    stride = 2**levels
    raw = rng.integers(-(2**22), 2**22, (3 * stride, 2 * stride))
    found = content_keys(torch.from_numpy(raw)[None].float(), levels=levels, quantum=quantum)
    expected = content_keys_of_python(raw, levels, quantum)
    assert [key[0].tolist() for key in found] == expected


@pytest.mark.parametrize("levels", [1, 4, 5, 6, 8])
def test_no_image_content_exceeds_63_bits(levels: int) -> None:
    """-1 is the residue of greatest size: a whole cell of it is the largest sum there is.

    HDN has 6 levels, a network at most 8.
    """
    stride = 2**levels
    weights = mix(torch.zeros(1, dtype=torch.int64), torch.arange(stride * stride)) % 2**22
    raw = torch.full((1, stride, stride), -1.0)
    total = (PRIME - 1) * int(weights.sum()) % PRIME  # Python integers do not wrap around
    h = Bounded.mix(total, 0) * NEIGHBOUR[1][1] % PRIME
    place = Bounded.mix(0, 0 + ((levels - 1) << 16))
    expected = 1 + Bounded.mix(h, place) % (PRIME - 1)
    assert content_keys(raw, levels=levels, quantum=1.0)[-1].item() == expected


def test_keys_lie_in_the_range_that_products_allow() -> None:
    found = [
        position_keys(0, -50, -50, 300, 300),
        channel_keys(5, 6, 2, 4096),
        *content_keys(image("poisson 1", 128), levels=LEVELS, quantum=1.0),
    ]
    for key in found:
        assert key.dtype == torch.int64
        assert key.min() >= 1  # a key of 0 would silence a pixel in all channels
        assert key.max() < PRIME


# ---------------------------------------------------------------- white Gaussian noise


@pytest.mark.parametrize("level", [0, 1])
def test_moments(keys: Callable[[int], Tensor], level: int) -> None:
    eps = field(keys(level), level=level, channels=4)
    n = eps.size
    # variances of x, x^2, x^3, x^4 of a standard normal: 1, 2, 15, 96
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        deviation = (eps**power).mean() - expected
        assert abs(deviation) < SIGMAS * math.sqrt(variance / n) + (power == 4) * 2e-3
        # the table ends at 4.3, beyond which the fourth moment has 2e-3


def test_distribution(keys: Callable[[int], Tensor]) -> None:
    eps = np.sort(field(keys(0), channels=2), axis=None)
    n = eps.size
    cdf = torch.special.ndtr(torch.from_numpy(eps)).numpy()
    distance = np.abs(cdf - (np.arange(n) + 0.5) / n).max()
    # Kolmogorov-Smirnov at a level of 1e-6, and half a step of the table
    assert distance < 2.7 / math.sqrt(n) + 2.0**-TABLE_BITS


@pytest.mark.parametrize("level", [0, 3])
def test_neighbours_are_uncorrelated(keys: Callable[[int], Tensor], level: int) -> None:
    (eps,) = field(keys(level), level=level)
    for lag in (1, 2, 3, 4, 7, 8, 16, 31):
        for a, b in (
            (eps[:, :-lag], eps[:, lag:]),
            (eps[:-lag], eps[lag:]),
            (eps[:-lag, :-lag], eps[lag:, lag:]),
            (eps[:-lag, lag:], eps[lag:, :-lag]),
        ):
            assert abs(correlation(a, b)) < SIGMAS
            # and so are their sizes: dependence that a correlation does not see
            assert abs(correlation(a**2 - 1, b**2 - 1)) < SIGMAS + 1


def test_spectrum_is_flat(keys: Callable[[int], Tensor]) -> None:
    (eps,) = field(keys(0))
    power = np.abs(np.fft.rfft2(eps)) ** 2 / eps.size
    half = power[:, 1:-1]  # each of these stands once; exponentially distributed, mean 1
    # the greatest of n such exceeds log(n) + 14 once in a million
    assert half.max() < math.log(half.size) + 14
    ky = np.fft.fftfreq(eps.shape[0])[:, None]
    kx = np.fft.rfftfreq(eps.shape[1])[None, 1:-1]
    ring = (np.hypot(ky, kx) * 32).astype(int)
    counts = np.bincount(ring.ravel())
    means = np.bincount(ring.ravel(), half.ravel()) / counts
    assert (np.abs(means - 1) < SIGMAS / np.sqrt(counts)).all()
    # lines along an axis, as a hash without mixing leaves them
    for axis in (0, 1):
        line = half.mean(axis=axis)
        assert (np.abs(line - 1) < 6 / math.sqrt(half.shape[axis])).all()


def independent(rows: NDArray[np.float64]) -> None:
    """Rows (m, n) of standard normal values are uncorrelated, each pair and all together."""
    m, n = rows.shape
    z = (rows @ rows.T / math.sqrt(n))[np.triu_indices(m, 1)]
    # each z is standard normal: the greatest of 1e5 exceeds 7 less than once in a million
    assert np.abs(z).max() < 7
    assert abs((z**2).mean() - 1) < SIGMAS * math.sqrt(2 / z.size)


def test_channels_are_independent(keys: Callable[[int], Tensor]) -> None:
    eps = field(keys(2), level=2, channels=128)
    independent(eps.reshape(128, -1))
    # also where a channel looks at its neighbour pixel in the next
    for dy, dx in ((0, 1), (1, 0), (1, 1)):
        shifted = np.roll(eps, (dy, dx), axis=(1, 2))
        for step in (1, 2, 64):
            a, b = eps[step:], shifted[:-step]
            assert abs(correlation(a, b)) < SIGMAS


def test_samples_are_independent(keys: Callable[[int], Tensor]) -> None:
    independent(np.stack([field(keys(1), draw=d, level=1).ravel() for d in range(50)]))


def test_seeds_are_independent(keys: Callable[[int], Tensor]) -> None:
    seeds = [*range(20), 1000, 1001, 2**16, 2**20, 2**30, 2**31 - 2]
    independent(np.stack([field(keys(1), seed=s, level=1).ravel() for s in seeds]))


def test_levels_are_independent(keys: Callable[[int], Tensor]) -> None:
    fields = [field(keys(level), level=level, channels=8) for level in range(LEVELS)]
    side = fields[-1].shape[-1]
    # the same place in the array, and the same place in the frame
    corner = [f[:, :side, :side].reshape(8, -1) for f in fields]
    independent(np.concatenate(corner))
    strided = [f[:, :: f.shape[1] // side, :: f.shape[2] // side].reshape(8, -1) for f in fields]
    independent(np.concatenate(strided))


def test_levels_are_independent_even_for_one_channel_key(keys: Callable[[int], Tensor]) -> None:
    """The level is in the pixel keys too: they alone keep levels apart."""
    side = 64
    fields = [field(keys(level), channels=8)[:, :side, :side].reshape(8, -1) for level in range(4)]
    independent(np.concatenate(fields))


def test_seed_draw_and_level_do_not_stand_for_each_other() -> None:
    addresses = list(itertools.permutations(range(4), 3))
    values = {tuple(channel_keys(*a, channels=4).tolist()) for a in addresses}
    assert len(values) == len(addresses)


# ---------------------------------------------------------------- addresses by position


@pytest.mark.parametrize("level", range(4))
def test_a_window_has_the_noise_of_the_whole(level: int) -> None:
    whole = position_keys(level, -20, -30, 100, 120)
    for y, x, height, width in ((-20, -30, 5, 7), (-3, -1, 20, 40), (0, 0, 30, 30), (79, 89, 1, 1)):
        window = position_keys(level, y, x, height, width)
        assert torch.equal(window, whole[y + 20 :, x + 30 :][:height, :width])


def test_rows_and_columns_are_no_mirror_images() -> None:
    key = position_keys(0, 0, 0, 64, 64)
    off_diagonal = ~torch.eye(64, dtype=torch.bool)
    assert (key != key.T)[off_diagonal].all()


def test_positions_have_keys_of_their_own() -> None:
    key = position_keys(0, -64, -64, 512, 512)
    n = key.numel()
    collisions = n - key.unique().numel()
    # as many as random keys have: n^2 / (2 PRIME) = 16 on average, Poisson
    expected = n * n / (2 * PRIME)
    assert collisions < expected + SIGMAS * math.sqrt(expected)


# ---------------------------------------------------------------- addresses by content


def test_content_of_a_tile_gives_the_noise_of_the_whole() -> None:
    whole = image("poisson 1", 160)
    keys = content_keys(whole, levels=LEVELS, quantum=1.0)
    for y, x, side in ((0, 0, 96), (16, 48, 80), (64, 64, 96), (32, 0, 48)):
        tile = content_keys(whole[:, y : y + side, x : x + side], levels=LEVELS, quantum=1.0)
        for level, (of_tile, of_whole) in enumerate(zip(tile, keys, strict=True)):
            n = STRIDE >> (level + 1)  # latent pixels per stride
            inner = of_tile[0, n:-n, n:-n]
            top, left = y * n // STRIDE + n, x * n // STRIDE + n
            expected = of_whole[0, top:, left:][: inner.shape[0], : inner.shape[1]]
            assert torch.equal(inner, expected)


def test_content_of_every_frame_of_a_batch_is_its_own() -> None:
    frames = torch.cat([image("poisson 1", 64, seed=s) for s in range(3)])
    together = content_keys(frames, levels=LEVELS, quantum=1.0)
    for b in range(3):
        alone = content_keys(frames[[b]], levels=LEVELS, quantum=1.0)
        for one, many in zip(alone, together, strict=True):
            assert torch.equal(one[0], many[b])
    shared = np.isin(together[0][0].numpy(), together[0][1].numpy()).mean()
    assert shared < 1e-4  # 1024 random keys out of 2^31 share none


def test_one_count_in_one_pixel_changes_the_noise_around_it_only() -> None:
    frame = image("poisson 100", 112)
    other = frame.clone()
    other[0, 50, 55] += 1  # in cell (3, 3)
    for level, (a, b) in enumerate(
        zip(*(content_keys(f, levels=LEVELS, quantum=1.0) for f in (frame, other)), strict=True)
    ):
        n = STRIDE >> (level + 1)
        changed = torch.zeros_like(a, dtype=torch.bool)
        changed[:, 2 * n : 5 * n, 2 * n : 5 * n] = True
        assert torch.equal(a != b, changed)


def test_a_mirrored_frame_has_no_mirrored_noise() -> None:
    frame = image("poisson 100", 64)
    a, b = (content_keys(f, levels=LEVELS, quantum=1.0)[0] for f in (frame, frame.flip(2)))
    assert not torch.isin(b, a).any()


def test_content_is_quantised() -> None:
    frame = image("poisson 100", 48) / 255
    quantum = 2.0**-12
    steps = torch.floor(frame / quantum)
    key = content_keys(frame, levels=LEVELS, quantum=quantum)[0]
    middle = content_keys((steps + 0.5) * quantum, levels=LEVELS, quantum=quantum)[0]
    assert torch.equal(key, middle)
    above = content_keys((steps + 1.5) * quantum, levels=LEVELS, quantum=quantum)[0]
    assert not torch.isin(above, key).any()


@pytest.mark.parametrize("value", [0.0, 1.0, 65_535.0, -3.0, 0.25])
def test_a_constant_image_has_noise_that_differs_inside_a_cell(value: float) -> None:
    frame = torch.full((1, 5 * STRIDE, 5 * STRIDE), value)
    for level, key in enumerate(content_keys(frame, levels=LEVELS, quantum=1.0)):
        n = STRIDE >> (level + 1)
        middle = key[0, 2 * n : 3 * n, 2 * n : 3 * n]
        assert middle.unique().numel() == n * n
        # the cells themselves repeat where nothing within reach differs
        assert torch.equal(key[0, n : 2 * n, n : 2 * n], middle)


def cell(value: float, level: int, **address: int) -> NDArray[np.float64]:
    """eps (Z, n, n) of one cell inside a constant image, where every cell has the same."""
    frame = torch.full((1, 5 * STRIDE, 5 * STRIDE), value)
    n = STRIDE >> (level + 1)
    key = content_keys(frame, levels=LEVELS, quantum=1.0)[level][0, 2 * n : 3 * n, 2 * n : 3 * n]
    return field(key, level=level, **address)


@pytest.mark.parametrize("value", [0.0, 65_535.0])
def test_noise_inside_the_cell_of_a_constant_image_is_white(value: float) -> None:
    """What repeats from cell to cell is independent noise of its own: over places and channels."""
    eps = cell(value, 0, channels=4096)
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        deviation = (eps**power).mean() - expected
        assert abs(deviation) < SIGMAS * math.sqrt(variance / eps.size) + (power == 4) * 2e-3
    flat = np.sort(eps, axis=None)
    cdf = torch.special.ndtr(torch.from_numpy(flat)).numpy()
    distance = np.abs(cdf - (np.arange(flat.size) + 0.5) / flat.size).max()
    assert distance < 2.7 / math.sqrt(flat.size) + 2.0**-TABLE_BITS
    for lag in range(1, 8):
        assert abs(correlation(eps[:, :, :-lag], eps[:, :, lag:])) < SIGMAS
        assert abs(correlation(eps[:, :-lag], eps[:, lag:])) < SIGMAS
    power = (np.abs(np.fft.fft2(eps)) ** 2).mean(axis=0) / 64  # of each frequency: mean 1
    assert (np.abs(power - 1) < SIGMAS * math.sqrt(2 / 4096)).all()
    places = eps.reshape(4096, 64)
    independent(places.T)
    independent(places.reshape(128, 2048))  # groups of channels


@pytest.mark.parametrize("value", [0.0, 65_535.0])
def test_samples_seeds_and_levels_of_a_constant_image_are_independent(value: float) -> None:
    for name in ("draw", "seed"):
        rows = [cell(value, 0, channels=64, **{name: i}).ravel() for i in range(20)]
        independent(np.stack(rows))
    levels = [cell(value, level, channels=512).reshape(512, -1).T for level in range(LEVELS)]
    independent(np.concatenate(levels))  # 64 + 16 + 4 + 1 places


def test_a_sparse_image_repeats_hardly_a_key() -> None:
    """Poisson noise of mean 0.1: keys of a small neighbourhood repeated (7 % were unique)."""
    rng = np.random.default_rng(0)
    frame = torch.from_numpy(rng.poisson(0.1, (1, 512, 512)).astype(np.float32))
    for key in content_keys(frame, levels=LEVELS, quantum=1.0):
        n = key.numel()
        expected = n * n / (2 * PRIME)
        assert n - key.unique().numel() < expected + SIGMAS * math.sqrt(expected) + 1


# ---------------------------------------------------------------- noise of samples


def some_keys() -> list[Tensor]:
    return [position_keys(i, 0, 0, 32 >> i, 48 >> i) for i in range(3)]


def noise(samples: list[int], *, antithetic: bool, seed: int = 3) -> list[Tensor]:
    return addressed_noise(
        some_keys(),
        samples,
        seed=seed,
        channels=5,
        antithetic=antithetic,
        table=normal_table(),
    )


def test_antithetic_samples_are_exact_negatives() -> None:
    for level in noise([0, 1, 2, 3], antithetic=True):
        assert torch.equal(level[0], -level[1])
        assert torch.equal(level[2], -level[3])
        assert not torch.equal(level[0].abs(), level[2].abs())


def test_even_antithetic_samples_are_the_independent_draws() -> None:
    for paired, single in zip(
        noise([0, 2, 4], antithetic=True), noise([0, 1, 2], antithetic=False), strict=True
    ):
        assert torch.equal(paired, single)


@pytest.mark.parametrize("antithetic", [False, True])
def test_a_sample_does_not_depend_on_the_others(antithetic: bool) -> None:
    together = noise(list(range(7)), antithetic=antithetic)
    for k in range(7):
        alone = noise([k], antithetic=antithetic)
        assert all(torch.equal(a[0], t[k]) for a, t in zip(alone, together, strict=True))


def test_noise_has_the_shape_of_the_latents_and_is_addressed_by_all_of_them() -> None:
    levels = noise([4], antithetic=False)
    assert [tuple(level.shape) for level in levels] == [(1, 5, 32 >> i, 48 >> i) for i in range(3)]
    assert all(level.dtype == torch.float32 for level in levels)
    for i, level in enumerate(levels):
        of_channel = channel_keys(3, 4, i, 5)
        assert torch.equal(level[0], standard_normal(some_keys()[i], of_channel, normal_table()))


def test_seeds_give_other_noise() -> None:
    for a, b in zip(
        noise([0], antithetic=True, seed=0), noise([0], antithetic=True, seed=1), strict=True
    ):
        # two independent values of a table of 65 536 agree once in 65 536
        assert (a == b).double().mean() < 0.01


def test_more_channels_leave_the_first_ones_as_they_are() -> None:
    assert channel_keys(1, 2, 3, 128)[:32].equal(channel_keys(1, 2, 3, 32))


# ---------------------------------------------------------------- running moments


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_running_moments_are_those_of_numpy(offset: float) -> None:
    values = np.random.default_rng(0).normal(offset, 2.0, (37, 3, 4)).astype(np.float32)
    moments = RunningMoments()
    for value in values:
        moments.add(torch.from_numpy(value))
    exact = values.astype(np.float64)
    # one rounding per update of numbers as large as the mean, 37 of them; Welford's update loses no
    # more, a sum of squares would lose 1e8 * 6e-8 = 6 of a variance of 4
    error = 37 * 6e-8 * max(offset, 10)
    np.testing.assert_allclose(moments.mean.numpy(), exact.mean(axis=0), rtol=0, atol=error)
    found = moments.std(antithetic=False).numpy()
    np.testing.assert_allclose(found, exact.std(axis=0, ddof=1), rtol=0, atol=error)


@pytest.mark.parametrize("samples", [2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("antithetic", [False, True])
def test_variance_is_unbiased_for_a_linear_decoder(samples: int, antithetic: bool) -> None:
    """Posterior samples 3 + 2 eps at 100 000 pixels: the mean variance is 4."""
    n = 100_000
    draws = np.random.default_rng(samples).standard_normal((samples, n))
    moments = RunningMoments()
    for k in range(samples):
        eps = draws[k // 2] * (-1) ** k if antithetic else draws[k]
        moments.add(torch.from_numpy(3 + 2 * eps))
    variance = moments.std(antithetic=antithetic).square()
    standard_error = variance.std().item() / math.sqrt(n)
    assert variance.mean().item() == pytest.approx(4, abs=SIGMAS * standard_error)


def test_divisor_of_even_antithetic_samples_is_their_number() -> None:
    moments = RunningMoments()
    for value in (1.0, -1.0, 3.0, -3.0):
        moments.add(torch.tensor(value))
    assert moments.mean.item() == 0
    assert moments.std(antithetic=True).item() == pytest.approx(math.sqrt(20 / 4))
    assert moments.std(antithetic=False).item() == pytest.approx(math.sqrt(20 / 3))


@pytest.mark.parametrize("samples", [0, 1])
def test_one_sample_has_no_deviation(samples: int) -> None:
    moments = RunningMoments()
    for _ in range(samples):
        moments.add(torch.ones(2))
    with pytest.raises(ValueError, match=f"{samples} samples.*2 or more"):
        moments.std(antithetic=False)
