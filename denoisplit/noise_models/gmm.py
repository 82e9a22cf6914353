"""Gaussian-mixture noise model: p(observed | signal) per pixel, in log space.

Model and exchange format are those of Probabilistic Noise2Void (Krull et al. 2020, Prakash et al.
2020).
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from denoisplit.errors import InputError
from denoisplit.files.npz import read_arrays
from denoisplit.noise_models.gmm_likelihood import log_density

LOG_2PI = math.log(2 * math.pi)
EXCHANGE_KEYS = ("trained_weight", "min_signal", "max_signal", "min_sigma")


class Mixture(NamedTuple):
    """Parameters of the mixture at given signals, each (..., J)."""

    offset: Tensor  # mean minus signal
    var: Tensor
    log_alpha: Tensor

    def log_density(self, residual: Tensor) -> Tensor:
        """Log density at ``residual`` = observation minus signal, (...,) -> (...,)."""
        log_normal = -0.5 * (
            (residual[..., None] - self.offset) ** 2 / self.var + torch.log(self.var) + LOG_2PI
        )
        return torch.logsumexp(self.log_alpha + log_normal, dim=-1)

    def cumulative(self, residual: Tensor) -> Tensor:
        """Probability below ``residual`` = observation minus signal, (...,) -> (...,)."""
        scaled = (residual[..., None] - self.offset) / torch.sqrt(self.var)
        below: Tensor = torch.special.ndtr(scaled)
        return (self.log_alpha.exp() * below).sum(dim=-1)

    def variance(self) -> Tensor:
        """Variance of the observation, (...,)."""
        return (self.log_alpha.exp() * (self.var + self.offset**2)).sum(dim=-1)


def mixture(weight: Tensor, t: Tensor, floor: Tensor | float) -> Mixture:
    """Evaluate all polynomials of a (3J, M) weight at ``t`` in [0, 1], in one matrix product."""
    powers = t[..., None] ** torch.arange(weight.shape[1], device=t.device)
    a, b, d = weight.chunk(3)
    offset, var, logits = (powers @ torch.cat((a, b.exp(), d)).T).chunk(3, dim=-1)
    log_alpha = torch.log_softmax(logits, dim=-1)
    offset = offset - (log_alpha.exp() * offset).sum(dim=-1, keepdim=True)
    return Mixture(offset, var.clamp(min=floor), log_alpha)


class GaussianMixture(nn.Module):
    """Mixture of J Gaussians whose means, variances and logits are polynomials of the signal.

    With ``t`` the signal scaled to [0, 1] over the fitted range (clamped outside it):
    ``var_j = max(sum_m exp(b_jm) t^m, floor)``, ``alpha = softmax_j(d_j(t))`` and
    ``mu_j = s + a_j(t) - sum_k alpha_k a_k(t)``, so the mixture's mean is the signal exactly.

    Parameters
    ----------
    weight : array (3J, M)
        Rows 0..J-1 the mean offsets a, rows J..2J-1 the log variance coefficients b, rows
        2J..3J-1 the logits d; coefficient of ``t^0`` first. Raw intensity units.
    min_signal, max_signal : float
        The fitted range of the signal, raw intensity.
    min_variance : float
        Floor of each component's variance, raw intensity squared (``min_sigma`` in the exchange
        file, although it is a variance).
    about : dict, optional
        Origin of the model: ``source``, ``poisson_factor``, ``gaussian_sigma``.
    """

    weight: Tensor
    min_signal: Tensor
    max_signal: Tensor
    min_variance: Tensor

    def __init__(
        self,
        weight: npt.ArrayLike,
        min_signal: float,
        max_signal: float,
        min_variance: float,
        about: dict[str, str | float] | None = None,
    ) -> None:
        super().__init__()
        w = np.asarray(weight, dtype=np.float64)
        if w.ndim != 2 or w.shape[0] % 3 or not w.size:
            raise ValueError(f"weight has shape {w.shape}, expected (3J, M)")
        limits = {"min_signal": min_signal, "max_signal": max_signal, "min_variance": min_variance}
        finite = np.isfinite(w).all() and np.isfinite([*limits.values()]).all()
        if not (finite and max_signal > min_signal and min_variance >= 0):
            raise ValueError(
                f"weights and limits must be finite, max_signal ({max_signal}) above min_signal "
                f"({min_signal}), min_variance ({min_variance}) not negative"
            )
        for name, value in {"weight": w, **limits}.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))
        self.about = dict(about or {})

    @property
    def components(self) -> int:
        """J, the number of Gaussians."""
        return self.weight.shape[0] // 3

    def at(self, signal: Tensor) -> Mixture:
        """Return the mixture at each signal value."""
        span = self.max_signal - self.min_signal
        # clamped, because odd powers below the range could make a variance negative
        t = ((signal.float() - self.min_signal) / span).clamp(0, 1)
        return mixture(self.weight, t, self.min_variance)

    def log_prob(self, observed: Tensor, signal: Tensor) -> Tensor:
        """Log density log p(observed | signal), elementwise and broadcasting; raw units, float32.

        The density has no floor, so that far tails keep their gradient.
        """
        observed, signal = torch.broadcast_tensors(observed.float(), signal.float())
        span = self.max_signal - self.min_signal
        return log_density(observed, signal, self.weight, self.min_signal, span, self.min_variance)

    def variance(self, signal: Tensor) -> Tensor:
        """Variance of the observation given the signal, raw units squared."""
        return self.at(signal).variance()

    def cumulative(self, observed: Tensor, signal: Tensor) -> Tensor:
        """Probability of a value below ``observed``, elementwise and broadcasting."""
        observed, signal = torch.broadcast_tensors(observed.float(), signal.float())
        return self.at(signal).cumulative(observed - signal)

    def sample(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one observation per signal value."""
        signal = signal.float()
        offset, var, log_alpha = self.at(signal)
        u = torch.rand(signal.shape, generator=generator, device=signal.device)
        j = (u[..., None] > log_alpha.exp().cumsum(dim=-1)[..., :-1]).sum(dim=-1, keepdim=True)
        eps = torch.randn(signal.shape, generator=generator, device=signal.device)
        std = torch.sqrt(var.gather(-1, j)[..., 0])
        return signal + offset.gather(-1, j)[..., 0] + std * eps

    def to_bytes(self) -> bytes:
        """Return an exchange file (.npz) of HDN and PPN2V, with ``about`` as additional arrays."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {
            "trained_weight": self.weight.cpu().numpy(),
            "min_signal": np.array([self.min_signal.item()]),
            "max_signal": np.array([self.max_signal.item()]),
            "min_sigma": np.array(self.min_variance.item()),
        }
        arrays |= {f"about_{key}": np.array(value) for key, value in self.about.items()}
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> GaussianMixture:
        """Read an exchange file, without executing anything in it.

        Raises
        ------
        InputError
            If the file is missing or not such an archive, or if its arrays are inconsistent.
        """
        remedy = "provide a Gaussian-mixture noise model (.npz) of this program, HDN or PPN2V"
        arrays = read_arrays(path, EXCHANGE_KEYS, "a noise model", remedy)
        about = {
            key.removeprefix("about_"): value.item()
            for key, value in arrays.items()
            if key.startswith("about_") and value.size == 1
        }
        try:
            low, high, floor = (float(arrays[key].reshape(-1)[0]) for key in EXCHANGE_KEYS[1:])
            return cls(arrays["trained_weight"], low, high, floor, about)
        except (ValueError, IndexError, TypeError) as error:
            raise InputError(str(error), where=path, remedy=remedy) from None
