"""Loss of the fit of a noise model, and its derivative, in scaled units."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from denoisplit.noise_models.binning import Flat, Variances, gather, variances
from denoisplit.noise_models.gmm import LOG_2PI

# nat per squared relative error of the variance: 2 % cost 0.02 nat, see `Loss`
VARIANCE_WEIGHT = 50.0


class _Gaussians(NamedTuple):
    """A mixture at n signals, J Gaussians in the first dimension; each (J, n)."""

    offset: Tensor  # of the means, from the signal
    var: Tensor
    free: Tensor  # whether the variance is above its floor, which has no slope
    log_alpha: Tensor
    alpha: Tensor

    @classmethod
    def at(cls, weight: Tensor, powers: Tensor, floor: float) -> _Gaussians:
        """Evaluate the polynomials of a (3J, M) weight, see `GaussianMixture`."""
        a, b, d = weight.chunk(3)
        offset, var, logits = (torch.cat((a, b.exp(), d)) @ powers).chunk(3)
        log_alpha = torch.log_softmax(logits, dim=0)
        alpha = log_alpha.exp()
        offset = offset - (alpha * offset).sum(dim=0)
        return cls(offset, var.clamp(min=floor), var >= floor, log_alpha, alpha)


def _slope(weight: Tensor, powers: Tensor, a: Tensor, var: Tensor, logits: Tensor) -> Tensor:
    """Return the derivative by a (3J, M) weight from those by the values of its polynomials."""
    by_a, by_var, by_d = (torch.cat((a, var, logits)) @ powers.T).chunk(3)
    return torch.cat((by_a, by_var * weight.chunk(3)[1].exp(), by_d))


class Loss(NamedTuple):
    """Data of a fit, in scaled units: t over the range of signals, u = residual / d.

    The mixture is stiff if signals crowd at one end of their range, as those of a dark background
    do. Maximum likelihood alone then improves the shape of the distribution for the many at the
    expense of the variance for the few (15 % off for a confocal recording), or leaves Gaussians of
    little weight and absurd variance. So errors of the variance are penalised too.
    """

    powers: Tensor  # (M, n) of t of cells
    u: Tensor  # (n,)
    share: Tensor  # (n,) share of the pairs
    floor: float
    known: Variances | None
    known_powers: Tensor  # those of t of its narrow bins; none without variances

    @classmethod
    def of(cls, t: Flat, u: Flat, spread: Flat, floor: float, coefficients: int) -> Loss:
        """Build the loss from single pairs; ``spread`` is the dithered u."""

        def powers_of(signal: Tensor) -> Tensor:
            powers: Tensor = signal ** torch.arange(coefficients)[:, None]
            return powers

        signal, residual, pairs = (torch.from_numpy(column) for column in gather(t, spread))
        known = variances(t, u)
        at = torch.from_numpy(known.signal if known is not None else t[:0])
        return cls(powers_of(signal), residual, pairs / pairs.sum(), floor, known, powers_of(at))

    def log_density(self, weight: Tensor) -> Tensor:
        """Return the log density per cell."""
        return torch.logsumexp(self._log_terms(_Gaussians.at(weight, self.powers, self.floor)), 0)

    def _log_terms(self, at: _Gaussians) -> Tensor:
        """Return the log of each Gaussian's part of the density, (J, n)."""
        return at.log_alpha - 0.5 * ((self.u - at.offset) ** 2 / at.var + at.var.log() + LOG_2PI)

    def value_and_slope(self, weight: Tensor) -> tuple[float, Tensor]:
        """Return the mean negative log density plus the penalty, and their derivative (3J, M).

        The derivative is written out, which takes a third of the time of automatic ones.
        """
        at = _Gaussians.at(weight, self.powers, self.floor)
        terms = self._log_terms(at)
        density = torch.logsumexp(terms, dim=0)
        value = -(self.share * density).sum()
        part = -self.share * (terms - density).exp()  # derivative by a Gaussian's log term
        z = (self.u - at.offset) / at.var
        moved = part * z
        together = moved.sum(dim=0)
        slope = _slope(
            weight,
            self.powers,
            moved - at.alpha * together,  # the mean of the mixture stays the signal
            0.5 * part * (z**2 - 1 / at.var) * at.free,
            part + at.alpha * (self.share - at.offset * together),
        )
        if self.known is None:
            return value.item(), slope
        _, share, variance, counts = (torch.from_numpy(column) for column in self.known)
        at = _Gaussians.at(weight, self.known_powers, self.floor)
        square = at.var + at.offset**2
        modelled = (at.alpha * square).sum(dim=0)
        error = torch.log(share @ modelled / variance)
        value += VARIANCE_WEIGHT * (counts * error**2).sum()
        by_modelled = share.T @ (2 * VARIANCE_WEIGHT * counts * error / (share @ modelled))
        part = at.alpha * by_modelled
        slope += _slope(
            weight,
            self.known_powers,
            2 * part * at.offset,
            part * at.free,
            part * (square - modelled),
        )
        return value.item(), slope
