"""The objective: data terms against known densities, KL against its definition, Eq 3 and Eq 4."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from denoisplit.network.decoder import Gaussian, Latent
from denoisplit.training.objective import (
    Loss,
    combine,
    data_term,
    gaussian_nll,
    kl_closed_form,
    kl_eq3,
    kl_eq4,
    kl_one_sample,
    kl_per_level,
    mean_loss,
    noise_model_nll,
)

SIDES = (64, 32, 16, 8)  # of the latents of a patch of 128 px
Z = 128


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latent(shape: tuple[int, ...], seed: int = 0, prior_batch: int | None = None) -> Latent:
    """A level with random posterior and prior, and a draw from the posterior; float64."""
    g = generator(seed)

    def gaussian(batch: int) -> Gaussian:
        of = (batch, *shape[1:])
        mean = torch.randn(of, generator=g, dtype=torch.float64)
        return Gaussian(mean, torch.rand(of, generator=g, dtype=torch.float64) * 2 + 0.1)

    q, p = gaussian(shape[0]), gaussian(prior_batch or shape[0])
    eps = torch.randn(shape, generator=g, dtype=torch.float64)
    return Latent(q, p, q.mean + q.var.sqrt() * eps, eps)


def normal(gaussian: Gaussian) -> Normal:
    return Normal(gaussian.mean, gaussian.var.sqrt())


# ---------------------------------------------------------------- data term


def test_gaussian_nll_is_that_of_a_normal() -> None:
    g = generator()
    y, mean = torch.randn(2, 2, 3, 5, 7, generator=g)
    lv = torch.empty(2, 3, 5, 7).uniform_(-4.9, 6, generator=g)
    expected = -Normal(mean, torch.exp(0.5 * lv)).log_prob(y)
    torch.testing.assert_close(gaussian_nll(y, mean, lv), expected)


def test_gaussian_nll_clips_the_log_variance_from_below_only() -> None:
    y, mean = torch.tensor([1.0]), torch.tensor([0.5])
    lv = torch.tensor([-5.0, -9.0, 30.0], requires_grad=True)
    nll = gaussian_nll(y, mean, lv)
    assert nll[0] == nll[1]
    # at 30 the residual counts for nothing: half of l + log 2 pi remains
    assert nll[2].item() == pytest.approx(0.5 * (30 + math.log(2 * math.pi)), rel=1e-6)
    (slope,) = torch.autograd.grad(nll.sum(), lv)
    assert slope[1] == 0
    assert slope[2] != 0


def test_gaussian_nll_stays_in_float32() -> None:
    half = torch.tensor([300.0], dtype=torch.float16)  # its square is no float16
    nll = gaussian_nll(half, torch.zeros_like(half), torch.zeros_like(half))
    assert nll.dtype == torch.float32
    assert nll.item() == pytest.approx(0.5 * (300.0**2 + math.log(2 * math.pi)), rel=1e-6)


class NormalModel:
    """A noise model of one standard deviation that remembers what it was asked."""

    def __init__(self, std: float) -> None:
        self.std = std

    def log_prob(self, observed: Tensor, signal: Tensor) -> Tensor:
        assert observed.dtype == signal.dtype == torch.float32
        # skewed on purpose: swapping observation and signal gives another number
        return Normal(signal, self.std * (1 + signal.abs())).log_prob(observed)


def test_every_structure_has_its_own_noise_model() -> None:
    g = generator()
    observed, signal = torch.randn(2, 2, 3, 4, 5, generator=g)
    stds = (0.5, 1.0, 2.0)
    nll = noise_model_nll(observed, signal, [NormalModel(s) for s in stds])
    assert nll.shape == (2, 3, 4, 5)
    for k, std in enumerate(stds):
        expected = -Normal(signal[:, k], std * (1 + signal[:, k].abs())).log_prob(observed[:, k])
        torch.testing.assert_close(nll[:, k], expected)


def test_noise_models_are_evaluated_in_float32() -> None:
    half = torch.ones(1, 1, 2, 2, dtype=torch.bfloat16)
    assert noise_model_nll(half, half, [NormalModel(1.0)]).dtype == torch.float32


def test_data_term_is_the_mean_over_batch_structures_and_pixels() -> None:
    nll = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert data_term(nll, torch.ones_like(nll)).item() == 11.5


def test_a_sample_of_nothing_is_left_out_with_the_full_divisor() -> None:
    nll = torch.tensor([1.0, 2.0, 4.0, 8.0]).reshape(4, 1, 1, 1).expand(4, 2, 3, 3)
    target = torch.ones(4, 2, 3, 3)
    target[1] = 0  # everything 0: left out
    target[2, 0] = 0  # one structure has signal: stays
    target[3] = 0
    target[3, 1, 2, 2] = -1e-3  # a single pixel, below zero: stays
    assert data_term(nll, target).item() == (1 + 4 + 8) / 4
    assert data_term(nll, torch.zeros_like(target)).item() == 0


# ---------------------------------------------------------------- KL of an element


def test_equal_posterior_and_prior_have_no_kl() -> None:
    one = latent((2, 3, 4, 4))
    same = one._replace(prior=one.posterior)
    assert kl_closed_form(same).abs().max() == 0
    # (z - mean)^2 / var and eps^2 differ by rounding: a few units of 1e-16 times eps^2 < 25
    assert kl_one_sample(same).abs().max() < 1e-13


@pytest.mark.parametrize("prior_batch", [None, 1])
def test_closed_form_is_the_divergence_of_two_normals(prior_batch: int | None) -> None:
    one = latent((3, 2, 4, 5), prior_batch=prior_batch)
    expected = kl_divergence(normal(one.posterior), normal(one.prior))
    assert kl_closed_form(one).shape == (3, 2, 4, 5)
    torch.testing.assert_close(kl_closed_form(one), expected)
    assert (kl_closed_form(one) >= 0).all()


@pytest.mark.parametrize("prior_batch", [None, 1])
def test_one_sample_estimate_is_the_log_ratio_at_the_draw(prior_batch: int | None) -> None:
    one = latent((3, 2, 4, 5), prior_batch=prior_batch)
    expected = normal(one.posterior).log_prob(one.z) - normal(one.prior).log_prob(one.z)
    torch.testing.assert_close(kl_one_sample(one), expected)


def test_one_sample_estimates_average_to_the_closed_form() -> None:
    q = Gaussian(torch.tensor([0.3, -1.0, 2.0, 0.0]), torch.tensor([0.5, 1.0, 0.05, 3.0]))
    p = Gaussian(torch.tensor([0.0, 0.5, 2.1, 0.0]), torch.tensor([1.0, 2.0, 0.1, 1.0]))
    n = 100_000
    eps = torch.randn(n, 4, generator=generator(), dtype=torch.float64)
    draws = kl_one_sample(Latent(q, p, q.mean + q.var.sqrt() * eps, eps))
    standard_error = draws.std(dim=0) / math.sqrt(n)
    expected = kl_closed_form(Latent(q, p, eps, eps))
    assert ((draws.mean(dim=0) - expected).abs() < 5 * standard_error).all()


def test_one_sample_gradient_reaches_posterior_and_prior_alike() -> None:
    """Its mean gradient is that of the closed form: nothing is detached on the way."""
    n = 40_000
    eps = torch.randn(n, 1, generator=generator(), dtype=torch.float64)
    values = [torch.tensor([v], dtype=torch.float64) for v in (0.7, 0.4, -0.2, 1.5)]
    leaves = [v.requires_grad_() for v in values]
    q, p = Gaussian(leaves[0], leaves[1]), Gaussian(leaves[2], leaves[3])
    drawn = Latent(q, p, q.mean + q.var.sqrt() * eps, eps)
    exact = torch.autograd.grad(kl_closed_form(drawn).sum(), leaves, retain_graph=True)
    estimate = torch.autograd.grad(kl_one_sample(drawn).mean(), leaves)
    # per draw the gradients are quadratics in eps of coefficients below 2: std below 5
    for found, expected in zip(estimate, exact, strict=True):
        assert found.item() == pytest.approx(expected.item(), abs=5 * 5 / math.sqrt(n))


# ---------------------------------------------------------------- the two forms


def test_weight_of_an_element_in_eq4_over_eq3() -> None:
    levels = [torch.ones(1, Z, s, s, requires_grad=True) for s in SIDES]
    eq3 = torch.autograd.grad(kl_eq3(levels), levels)
    eq4 = torch.autograd.grad(kl_eq4(levels, pixels=128 * 128), levels)
    for a, b, expected in zip(eq4, eq3, (128, 32, 8, 2), strict=True):
        # 1 / (H W) over 1 / (L Z h w): powers of two, exact in float32
        assert (a / b == expected).all()


def test_both_forms_by_hand() -> None:
    """A patch of 4 x 4 px, two levels: Z = 1 of 2 x 2 and Z = 1 of 1 x 1, batch of 2."""
    fine = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 1.0], [0.0, 1.0]]]])  # sums 10, 2
    coarse = torch.tensor([[[[5.0]]], [[[0.25]]]])  # sums 5, 0.25
    # Eq 3: (mean of 10/4 and 2/4 + mean of 5 and 0.25) / 2
    assert kl_eq3([fine, coarse]).item() == (1.5 + 2.625) / 2
    # Eq 4 with lambda = 1 nat: (mean of 10 and 2 + mean of 5 and max(0.25, 1)) / 16
    assert kl_eq4([fine, coarse], pixels=16).item() == (6 + 3) / 16
    assert kl_eq4([fine, coarse], pixels=16, free_bits=0.0).item() == (6 + 2.625) / 16
    # both with a floor of 3 nat
    assert kl_eq3([fine, coarse], free_bits=3.0).item() == (6.5 / 4 + 4) / 2
    assert kl_eq4([fine, coarse], pixels=16, free_bits=3.0).item() == (6.5 + 4) / 16


def test_whole_loss_of_a_2x2_patch_by_hand() -> None:
    """One level, Z = 1, one latent pixel; everything small enough for paper and pencil."""
    z, eps = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 0.5)
    q = Gaussian(torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 4.0))  # 1 + 2 * 0.5 = 2
    p = Gaussian(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    one = [Latent(q, p, z, eps)]
    drawn = 0.5 * (4 - 0.25) - 0.5 * math.log(4)  # log q - log p at z = 2: 1.1819
    closed = 0.5 * (4 + 1 - 1 - math.log(4))  # 1.3069
    # targets 1, 0, 0, 1, means 0, log-variances 0: half the squares and half of log 2 pi
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).reshape(1, 1, 2, 2)
    data = data_term(gaussian_nll(target, torch.zeros(1), torch.zeros(1)), target)
    r = 0.25 + 0.5 * math.log(2 * math.pi)
    common = dict(structures=1, pixels=4, beta=1.0)
    for form, closed_form, free_bits, kl in (
        ("eq4", False, 1.0, drawn / 4),
        ("eq3", False, 0.0, drawn),
        ("eq4", True, 1.0, closed / 4),
        ("eq3", True, 0.0, closed),
        ("eq4", False, 2.0, 2 / 4),
    ):
        loss = combine(
            data, one, kl_form=form, closed_form=closed_form, free_bits=free_bits, **common
        )
        # float32 against float64: relative 6e-8 per operation, a dozen of them
        assert loss.data.item() == pytest.approx(r, rel=1e-6)
        assert loss.kl.item() == pytest.approx(kl, rel=1e-6)
        assert loss.total.item() == pytest.approx(r + kl, rel=1e-6)


@pytest.mark.parametrize("levels", [1, 4, 6])
@pytest.mark.parametrize("batch", [1, 3])
def test_collapsed_levels_cost_their_free_bits(levels: int, batch: int) -> None:
    collapsed = [torch.zeros(batch, 2, 4, 4, requires_grad=True) for _ in range(levels)]
    kl = kl_eq4(collapsed, pixels=128 * 128, free_bits=1.0)
    assert kl.item() == levels / 128**2  # a power of two below: exact
    # under the floor there is nothing to gain
    assert not any(g.any() for g in torch.autograd.grad(kl, collapsed))


def test_free_bits_act_on_each_sample_before_the_mean() -> None:
    level = torch.tensor([-3.0, 5.0]).reshape(2, 1, 1, 1)
    assert kl_eq4([level], pixels=1, free_bits=1.0).item() == (1 + 5) / 2  # not max(1, 1) = 1


def test_without_free_bits_a_negative_estimate_stays_negative() -> None:
    level = torch.tensor([-3.0, 1.0]).reshape(2, 1, 1, 1)
    assert kl_eq4([level], pixels=1, free_bits=0.0).item() == -1
    assert kl_eq3([level]).item() == -1


# ---------------------------------------------------------------- the whole


@pytest.mark.parametrize("structures", [1, 2, 3])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("kl_form", ["eq3", "eq4"])
@pytest.mark.parametrize("closed_form", [False, True])
def test_combine_weighs_the_kl_with_beta_over_structures(
    structures: int, beta: float, kl_form: str, closed_form: bool
) -> None:
    latents = [latent((2, 3, s, s), seed=s) for s in (8, 4)]
    data = torch.tensor(1.25, dtype=torch.float64)
    loss = combine(
        data,
        latents,
        structures=structures,
        pixels=256,
        beta=beta,
        kl_form=kl_form,
        free_bits=1.0,
        closed_form=closed_form,
    )
    sums = [
        (kl_divergence(normal(n.posterior), normal(n.prior)))
        if closed_form
        else normal(n.posterior).log_prob(n.z) - normal(n.prior).log_prob(n.z)
        for n in latents
    ]
    per_level = torch.stack([s.sum(dim=(1, 2, 3)).mean() for s in sums])
    if kl_form == "eq4":
        expected = per_level.sum() / 256
    else:
        expected = (per_level / torch.tensor([3 * 64, 3 * 16])).mean()
    torch.testing.assert_close(loss.kl, expected)
    torch.testing.assert_close(loss.kl_levels, per_level)
    torch.testing.assert_close(loss.total, data + beta / structures * expected)
    assert loss.data == data


def test_beta_one_is_the_evidence_bound_over_structures_and_pixels() -> None:
    """Likelihoods summed over structures and pixels plus the whole KL, divided by C H W."""
    nll = torch.rand(2, 3, 16, 16, generator=generator(), dtype=torch.float64)
    latents = [latent((2, 3, 8, 8), seed=1), latent((2, 3, 4, 4), seed=2)]
    settings = dict(structures=3, pixels=256, kl_form="eq4", free_bits=0.0, closed_form=True)
    loss = combine(data_term(nll, torch.ones_like(nll)), latents, beta=1.0, **settings)
    kl = sum(level.sum(dim=(1, 2, 3)) for level in kl_per_level(latents, closed_form=True))
    bound = (nll.sum(dim=(1, 2, 3)) + kl).mean()
    torch.testing.assert_close(loss.total, bound / (3 * 256))


def test_the_kl_of_levels_is_reported_without_a_graph() -> None:
    one = latent((1, 2, 4, 4))
    q = Gaussian(one.posterior.mean.requires_grad_(), one.posterior.var)
    loss = combine(
        torch.tensor(0.0),
        [one._replace(posterior=q)],
        structures=1,
        pixels=64,
        beta=1.0,
        kl_form="eq4",
        free_bits=1.0,
        closed_form=True,
    )
    assert loss.total.requires_grad
    assert not loss.kl_levels.requires_grad


def test_the_loss_of_parts_is_their_mean_over_crops() -> None:
    a = Loss(torch.tensor(4.0), torch.tensor(3.0), torch.tensor(1.0), torch.tensor([1.0, 2.0]))
    b = Loss(*(value + 8 for value in a))
    found = mean_loss([a, b], [6, 2])
    for value, expected in zip(found, a, strict=True):
        assert torch.equal(value, expected + 2)
    assert mean_loss([a], [5]) is a


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'eq5'.*eq3.*eq4"):
        combine(
            torch.tensor(0.0),
            [latent((1, 1, 2, 2))],
            structures=1,
            pixels=16,
            beta=1.0,
            kl_form="eq5",
            free_bits=1.0,
            closed_form=False,
        )
