"""The learned error map: its interpolation, reach and units, and how it is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from denoisplit.errors import InputError
from denoisplit.network.error_map import (
    BLUR,
    RADIUS,
    ErrorMap,
    copy_normalisation,
    error_map_of,
    interpolated,
    local_intensity,
)
from denoisplit.network.vse import VSE
from denoisplit.run import ERROR_MAP, load_error_map, save_error_map

CENTRES = torch.tensor([[0.0, 10.0, 40.0], [-5.0, 5.0, 6.0]])
VALUES = torch.tensor([[1.0, 3.0, 0.5], [2.0, 1.0, 4.0]])


def random_error_map(network: VSE, coverages: tuple[float, ...] = (0.5, 0.9)) -> ErrorMap:
    """An untrained error map whose bars vary within an image, with three groups per structure."""
    structures = network.structures
    with torch.random.fork_rng():
        torch.manual_seed(3)
        error_map = ErrorMap(structures, groups=3, coverages=len(coverages), filters=6)
    with torch.no_grad():
        for module in error_map.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(2)
    copy_normalisation(error_map, network)
    steps = torch.tensor([-1.0, 0.0, 1.5])
    error_map.centres.copy_(network.target_mean[:, None] + network.target_std[:, None] * steps)
    error_map.level.fill_(0.1)
    error_map.correction.copy_(torch.tensor([0.5, 1.0, 2.0]).expand(structures, -1))
    error_map.floor.copy_(torch.tensor([0.02, 0.0, 0.0]).expand(structures, -1))
    error_map.coverages.copy_(torch.tensor(coverages))
    widths = torch.tensor(coverages)[:, None, None] * torch.tensor([2.0, 1.5, 2.5])
    error_map.quantiles.copy_(widths.expand(-1, structures, -1))
    return error_map.eval().requires_grad_(False)


def plain_network(structures: int = 2) -> VSE:
    model = VSE(structures, filters=2, latents=2, levels=2, patch=8)
    model.input_mean.fill_(30.0)
    model.input_std.fill_(12.0)
    model.target_mean.copy_(torch.arange(structures) * 10.0 + 10)
    model.target_std.copy_(torch.arange(structures) * 3.0 + 5)
    return model


def images(side: int = 40, structures: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A frame (1, 1, Y, X) and decoded means (1, C, Y, X), raw intensity."""
    random = np.random.default_rng(seed)
    means = random.uniform(0, 40, (1, structures, side, side))
    frame = means.sum(axis=1, keepdims=True) + random.normal(0, 5, (1, 1, side, side))
    return torch.from_numpy(frame).float(), torch.from_numpy(means).float()


# ---------------------------------------------------------------- interpolation


def interpolate(at: Tensor) -> Tensor:
    """Values (2, n) of both structures at the intensities ``at``, (n,)."""
    return interpolated(at.expand(1, 2, 1, -1), CENTRES, VALUES)[0, :, 0]


def test_interpolation_is_exact_at_centres_and_linear_between() -> None:
    for k in range(2):
        torch.testing.assert_close(interpolate(CENTRES[k])[k], VALUES[k])
        between = (CENTRES[k, :-1] + CENTRES[k, 1:]) / 2
        expected = (VALUES[k, :-1] + VALUES[k, 1:]) / 2
        torch.testing.assert_close(interpolate(between)[k], expected)
    everywhere = torch.linspace(-50, 80, 1001)
    for k in range(2):
        expected = np.interp(everywhere, CENTRES[k], VALUES[k])
        np.testing.assert_allclose(interpolate(everywhere)[k], expected, atol=1e-5)


def test_interpolation_is_constant_outside_the_centres() -> None:
    outside = interpolate(torch.tensor([-1e6, -100.0, 100.0, 1e6]))
    torch.testing.assert_close(outside, VALUES[:, [0, 0, 2, 2]])


def test_interpolation_has_no_jumps() -> None:
    """No step is larger than the steepest slope between two centres allows."""
    step = 1e-3
    steps = interpolate(torch.arange(-10, 50, step)).diff().abs().amax(dim=1)
    steepest = (VALUES.diff() / CENTRES.diff()).abs().amax(dim=1)
    # rounding of values up to 4
    assert (steps <= steepest * step + 2e-6).all()


def test_one_group_is_one_value() -> None:
    one = interpolated(
        torch.tensor([[[[-3.0, 8.0]]]]), torch.tensor([[5.0]]), torch.tensor([[2.0]])
    )
    assert one.flatten().tolist() == [2.0, 2.0]


# ---------------------------------------------------------------- reach and units


def test_an_error_bar_depends_on_what_is_within_its_radius() -> None:
    """And on all of the square: its corners are seen, the pixels around it are not."""
    error_map, (x, means) = random_error_map(plain_network()), images(side=41)
    x, means = x.requires_grad_(), means.requires_grad_()
    std = error_map(x, means)
    half_width = error_map.half_width(1, means, std)
    (std[..., 20, 20].sum() + half_width[..., 20, 20].sum()).backward()
    for gradient in (x.grad, means.grad):
        assert gradient is not None
        seen = gradient.abs().amax(dim=(0, 1)) > 0
        rows, columns = (torch.nonzero(seen.any(dim=d)).flatten() for d in (1, 0))
        for reached in (rows, columns):
            assert (reached.min(), reached.max()) == (20 - RADIUS, 20 + RADIUS)
    assert RADIUS == 8


def test_the_local_intensity_of_even_images_is_theirs() -> None:
    even = torch.tensor([3.0, -20.0])[None, :, None, None].expand(1, 2, 12, 9)
    torch.testing.assert_close(local_intensity(even), even)
    _, means = images(seed=4)
    blurred = local_intensity(means)
    # white noise is averaged over 4 pi BLUR^2 px, about 50; there are 32 such areas in the image
    expected = float(means.std()) / np.sqrt(4 * np.pi * BLUR**2)
    assert float(blurred.std()) == pytest.approx(expected, rel=0.3)
    assert float(blurred.mean()) == pytest.approx(float(means.mean()), rel=0.05)


def test_error_bars_have_the_units_of_the_images() -> None:
    """Images and statistics in other units give the same error bars in these."""
    network, (x, means) = plain_network(), images()
    std = random_error_map(network)(x, means)
    assert std.shape == means.shape and (std > 0).all() and std.std() > 0.01 * std.mean()
    gain, offset = 7.0, 100.0
    for name in ("input_mean", "target_mean"):
        getattr(network, name).mul_(gain).add_(offset)
    for name in ("input_std", "target_std"):
        getattr(network, name).mul_(gain)
    scaled = random_error_map(network)(gain * x + offset, gain * means + offset)
    torch.testing.assert_close(scaled, gain * std, rtol=1e-4, atol=1e-4)


def test_no_variance_is_below_the_floor_of_its_group() -> None:
    """In units of target_std^2; larger variances, and other groups, keep theirs."""
    error_map, (x, means) = random_error_map(plain_network()), images()
    error_map.floor.zero_()
    std, unit = error_map(x, means), error_map.target_std[:, None, None]
    error_map.floor[:, 0] = 9.0
    raised = error_map(x, means)
    is_above = local_intensity(means) >= error_map.centres[:, 1, None, None]
    torch.testing.assert_close(raised[is_above], std[is_above])
    at_centre = error_map.centres[:, 0, None, None].expand_as(means)
    raised, error_map.floor[:, 0] = error_map(x, at_centre), 0.0
    own = error_map(x, at_centre)
    assert (raised >= torch.maximum(own, 3 * unit)).all()
    for k in range(error_map.structures):  # pixels at the floor are still ranked
        order = own[:, k].flatten().argsort()
        assert (raised[:, k].flatten()[order].diff() >= 0).all()
    torch.testing.assert_close(raised**4, own**4 + (9 * unit**2) ** 2)


def test_correction_and_quantiles_act_on_variance_and_half_width() -> None:
    error_map, (x, means) = random_error_map(plain_network()), images()
    std = error_map(x, means)
    widths = [error_map.half_width(number, means, std) for number in (0, 1)]
    assert (widths[0] < widths[1]).all()
    for table in (error_map.correction, error_map.floor):
        table.mul_(4)
    torch.testing.assert_close(error_map(x, means), 2 * std)
    error_map.quantiles[1].fill_(1.5)
    torch.testing.assert_close(error_map.half_width(1, means, std), 1.5 * std)


@pytest.mark.parametrize("structures", [1, 3])
def test_any_number_of_structures(structures: int) -> None:
    error_map = random_error_map(plain_network(structures))
    assert error_map(*images(9, structures)).shape == (1, structures, 9, 9)


# ---------------------------------------------------------------- storage


def test_a_state_gives_the_same_map() -> None:
    error_map, (x, means) = random_error_map(plain_network()), images()
    again = error_map_of(error_map.state_dict(), 2)
    assert not again.training and not any(p.requires_grad for p in again.parameters())
    assert torch.equal(again(x, means), error_map(x, means))


SIZES, SHAPE, FINITE, ORDER = "it has .* filters", "of shape", "finite", "not positive, or"
DAMAGED: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "a tensor is missing": ({"layers.4.weight": None}, SHAPE),
    "no sizes": ({"layers.0.bias": None}, SIZES),
    "no filters": ({"layers.0.bias": torch.zeros(0)}, SIZES),
    "a number for a vector": ({"coverages": torch.tensor(0.5)}, SHAPE),
    "a number for the centres": ({"centres": torch.tensor(0.5)}, SIZES),
    "wrong shape": ({"correction": torch.ones(2, 4)}, SHAPE),
    "other structures": ({"target_mean": torch.zeros(3)}, SHAPE),
    "NaN": ({"layers.0.weight": torch.full((6, 3, 3, 3), torch.nan)}, FINITE),
    "infinite": ({"target_mean": torch.tensor([0.0, torch.inf])}, FINITE),
    "whole numbers": ({"target_std": torch.tensor([3, 4])}, FINITE),
    "a negative factor": ({"correction": torch.tensor([[1.0, -1.0, 1.0]] * 2)}, ORDER),
    "a negative floor": ({"floor": torch.tensor([[0.0, -1.0, 0.0]] * 2)}, ORDER),
    "a width of zero": ({"quantiles": torch.zeros(2, 2, 3)}, ORDER),
    "no spread of the inputs": ({"input_std": torch.tensor(0.0)}, ORDER),
    "unordered groups": ({"centres": torch.tensor([[0.0, 2.0, 1.0]] * 2)}, ORDER),
    "equal groups": ({"centres": torch.tensor([[0.0, 1.0, 1.0]] * 2)}, ORDER),
    "too many filters": ({"layers.0.bias": torch.zeros(100_000)}, SIZES),
    "too many groups": ({"centres": torch.arange(1e5).repeat(2, 1)}, SIZES),
    "too many coverages": ({"coverages": torch.zeros(100_000)}, SIZES),
}


def damaged(change: dict[str, Tensor | None]) -> dict[str, Tensor]:
    state: dict[str, Tensor | None] = {**random_error_map(plain_network()).state_dict(), **change}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_state_is_refused(damage: str) -> None:
    change, message = DAMAGED[damage]
    with pytest.raises(ValueError, match=message):
        error_map_of(damaged(change), 2)


def test_a_map_of_other_structures_is_refused() -> None:
    with pytest.raises(ValueError, match=SHAPE):
        error_map_of(random_error_map(plain_network(3)).state_dict(), 2)


def test_a_stored_map_is_read_again(tmp_path: Path) -> None:
    network, (x, means) = plain_network(), images()
    assert load_error_map(tmp_path, network) is None
    error_map = random_error_map(network)
    save_error_map(error_map, tmp_path)
    again = load_error_map(tmp_path, network)
    assert again is not None and torch.equal(again(x, means), error_map(x, means))


@pytest.mark.parametrize("damage", ["cut", "junk", "negative", "other structures"])
def test_a_damaged_file_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    network, file = plain_network(), tmp_path / ERROR_MAP
    error_map = random_error_map(plain_network(3) if damage == "other structures" else network)
    if damage == "negative":
        error_map.correction.neg_()
    save_error_map(error_map, tmp_path)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    elif damage == "junk":
        file.write_bytes(b"no tensors at all")
    with pytest.raises(InputError, match="error map is not readable") as caught:
        load_error_map(tmp_path, network)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)
