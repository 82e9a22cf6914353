"""Error map and intervals of whole predictions, from a truth and from noisy images alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation import judge as judging
from denoisplit.evaluation import risk
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.groups import local_intensities
from denoisplit.evaluation.judge import Judge
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.frame import Prediction
from denoisplit.prediction.intervals import interval_number
from denoisplit.training.calibration import error_map
from denoisplit.training.calibration.error_bars import Fitted, fit_error_bars

Array = np.ndarray[Any, Any]
Predictor = Callable[[Array], Array]

SIDE = 64
SIGMA = 12.0
STEPS = 20  # of the map: its correction by groups does the rest
NAMES = ("coarse", "fine")
FREQUENCY = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))
# structures that a linear filter splits well, but not exactly: their bands overlap
BANDS = np.exp(-((FREQUENCY / 0.06) ** 2)), np.exp(-(((FREQUENCY - 0.1) / 0.05) ** 2))


@pytest.fixture(autouse=True)
def _small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_map, "CROPS", 4)
    monkeypatch.setattr(error_map, "SIDE", 48)


def filtered(image: Array, band: Array) -> Array:
    return np.fft.ifft2(np.fft.fft2(image) * band).real


def clean_frames(seed: int, count: int) -> list[Array]:
    """Random structures (C, Y, X) of the two bands, 20 about a mean of 100."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        fields = [filtered(rng.standard_normal((SIDE, SIDE)), band) for band in BANDS]
        frames.append(np.stack([100 + 20 * f / f.std() for f in fields]))
    return frames


def split(x: Array) -> Array:
    """Wiener's filter, which knows the spectra of structures and noise."""
    power = [400 * b**2 / np.mean(b**2) for b in BANDS]
    whole = sum(power) + 2 * SIGMA**2
    return np.stack([100 + filtered(x - 200, p / whole) for p in power])


def frames_of(clean: list[Array], *, truth: bool, seed: int = 0) -> EvaluationFrames:
    mix = Superposition("sum", (0.0, 0.0))
    group = tuple(tuple(np.float32(frame[k]) for frame in clean) for k in range(2))
    if truth:
        noise = SyntheticNoise(0.0, SIGMA)
        return EvaluationFrames(group, noise, mix, seed=seed, part="evaluation")
    rng = np.random.default_rng(seed + 100)
    noisy = tuple(
        tuple(np.float32(y + rng.normal(0, SIGMA, y.shape)) for y in images) for images in group
    )
    return EvaluationFrames(noisy, SyntheticNoise(), mix, seed=seed, part="evaluation")


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Callable[[Predictor], Judge]:
    """A function of the frame in place of the network, whose weights nobody uses."""

    def make(predictor: Predictor) -> Judge:
        def predict_frame(model: object, frame: Array, *args: Any, **options: Any) -> Prediction:
            mean = np.float32(predictor(frame))
            return Prediction(mean, None, mean[None][:0])

        for module in (risk, judging):
            monkeypatch.setattr(module, "predict_frame", predict_frame)
            monkeypatch.setattr(module, "inference_form", lambda model: model)
        with torch.random.fork_rng(devices=[]):
            model = VSE(2, filters=4, latents=2, levels=2, patch=16).eval()
        model.input_mean.fill_(200.0)
        model.input_std.fill_(33.0)
        model.target_mean.fill_(100.0)
        model.target_std.fill_(20.0)
        lines = np.array([[0, 0], [math.log(SIGMA**2), -60], [0, 0]])
        noise_models = [GaussianMixture(lines, 0.0, 200.0, 1e-3)] * 2
        mix = Superposition("sum", (0.0, 0.0))
        return Judge(
            model, NAMES, noise_models, [(0.0, 0.0)] * 2, mix, 0, antithetic=True, tile=64, halo=0
        )

    return make


class Checked:
    """Predictions of new frames against their truth."""

    def __init__(self, fitted: Fitted, predictor: Predictor = split, seed: int = 77) -> None:
        frames = frames_of(clean_frames(seed, 12), truth=True, seed=seed)
        number = interval_number(fitted.error_map, 0.9)
        self.covered, self.signed, self.std = [], [], []
        means = [np.float32(predictor(x)) for x in frames.inputs]
        with torch.inference_mode():
            for x, mean, truth in zip(frames.inputs, means, frames.truth, strict=True):
                decoded = torch.from_numpy(mean)[None]
                std = fitted.error_map(torch.from_numpy(x)[None, None], decoded)
                half = fitted.error_map.half_width(number, decoded, std)[0].numpy()
                self.signed.append(mean - truth)
                self.std.append(std[0].numpy())
                self.covered.append(np.abs(mean - truth) <= half)
        intensities = local_intensities(means)
        self.group = [
            [fitted.groups[k].index(intensity[k]) for intensity in intensities] for k in range(2)
        ]
        self.groups = [len(groups) for groups in fitted.groups]

    def of(self, values: list[Array], k: int, g: int | None = None) -> Array:
        parts = [
            v[k][i == g] if g is not None else v[k].ravel()
            for v, i in zip(values, self.group[k], strict=True)
        ]
        return np.concatenate(parts).astype(np.float64)

    def ratio(self, k: int, g: int | None = None) -> float:
        """True over claimed error."""
        error, claim = self.of(self.signed, k, g), self.of(self.std, k, g)
        return math.sqrt((error**2).mean() / (claim**2).mean())


def test_error_bars_from_a_truth_hold_for_new_frames(judge: Callable[..., Judge]) -> None:
    validation = frames_of(clean_frames(1, 16), truth=True, seed=1)
    fitted = fit_error_bars(judge(split), None, validation, steps=STEPS)
    assert fitted.frames == "validation frames" and len(fitted.groups) == 2
    checked = Checked(fitted)
    for k in range(2):
        assert checked.of(checked.covered, k).mean() == pytest.approx(0.9, abs=0.02)
        for g in range(checked.groups[k]):
            assert 0.8 < checked.ratio(k, g) < 1.25
            assert 0.85 <= checked.of(checked.covered, k, g).mean() <= 0.95


def test_error_bars_from_noisy_images_hold_for_new_frames(judge: Callable[..., Judge]) -> None:
    """Size of the error by its estimate, shape of its distribution by re-noised predictions."""
    validation = frames_of(clean_frames(1, 24), truth=False, seed=1)
    fitted = fit_error_bars(judge(split), None, validation, steps=STEPS)
    checked = Checked(fitted)
    for k in range(2):
        assert checked.of(checked.covered, k).mean() == pytest.approx(0.9, abs=0.05)
        assert checked.ratio(k) == pytest.approx(1, abs=0.1)
        for g in range(checked.groups[k]):
            assert math.sqrt((checked.of(checked.signed, k, g) ** 2).mean()) > 0.15 * SIGMA
            assert 0.7 < checked.ratio(k, g) < 1.4
            assert 0.8 <= checked.of(checked.covered, k, g).mean() <= 1


@pytest.mark.parametrize("truth", [True, False])
def test_training_frames_are_used_where_their_errors_are_the_same(
    judge: Callable[..., Judge], truth: bool
) -> None:
    validation = frames_of(clean_frames(1, 6), truth=truth, seed=1)
    training = frames_of(clean_frames(2, 6), truth=truth, seed=2)
    fitted = fit_error_bars(judge(split), training, validation, steps=STEPS)
    assert fitted.frames == "validation and training frames, whose errors agree"
    alone = fit_error_bars(judge(split), None, validation, steps=STEPS)
    assert not torch.equal(fitted.error_map.correction, alone.error_map.correction)


@pytest.mark.parametrize("truth", [True, False])
def test_overfitted_training_frames_are_left_out(judge: Callable[..., Judge], truth: bool) -> None:
    """The network knows its training frames by heart, and splits no others so well."""
    validation = frames_of(clean_frames(1, 8), truth=truth, seed=1)
    known = clean_frames(2, 8)
    training = frames_of(known, truth=truth, seed=2)

    def remembered(x: Array) -> Array:
        distance = [np.abs(x - seen).mean() for seen in training.inputs]
        nearest = int(np.argmin(distance))
        # also with the noise of a probe
        return known[nearest] + 1 if distance[nearest] < SIGMA else split(x)

    fitted = fit_error_bars(judge(remembered), training, validation, steps=STEPS)
    assert fitted.frames == "validation frames"
    if not truth:  # there the noise is measured on the training frames, too
        return
    alone = fit_error_bars(judge(remembered), None, validation, steps=STEPS)
    for name, value in alone.error_map.state_dict().items():
        assert torch.equal(fitted.error_map.state_dict()[name], value), name


@pytest.mark.parametrize("truth", [True, False])
def test_fitting_twice_is_the_same(judge: Callable[..., Judge], truth: bool) -> None:
    validation = frames_of(clean_frames(1, 4), truth=truth, seed=1)
    one = judge(split)
    torch.manual_seed(3)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = fit_error_bars(one, None, validation, steps=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    torch.manual_seed(4)
    second = fit_error_bars(one, None, validation, steps=2)
    for name, value in first.error_map.state_dict().items():
        assert torch.equal(second.error_map.state_dict()[name], value), name
    for a, b in zip(first.groups, second.groups, strict=True):
        assert a.as_dict() == b.as_dict()


def test_frames_without_a_usable_pixel_are_no_obstacle(judge: Callable[..., Judge]) -> None:
    """A validation frame is saturated, and all training frames are."""
    validation = frames_of(clean_frames(1, 5), truth=False, seed=1)
    training = frames_of(clean_frames(2, 4), truth=False, seed=2)
    validation.within_limits[0][:] = False
    for mask in training.within_limits:
        mask[:] = False
    fitted = fit_error_bars(judge(split), training, validation, steps=2)
    assert torch.isfinite(fitted.error_map.quantiles).all()
    assert torch.isfinite(fitted.error_map.correction).all()


def test_noise_levels_are_those_of_all_frames(judge: Callable[..., Judge]) -> None:
    """Noise models that claim 3 % too little; a truth needs none."""
    validation = frames_of(clean_frames(1, 12), truth=False, seed=1)
    one = judge(split)
    lines = np.array([[0, 0], [math.log(0.97 * SIGMA**2), -60], [0, 0]])
    wrong = replace(one, noise_models=[GaussianMixture(lines, 0.0, 200.0, 1e-3)] * 2)
    fitted = fit_error_bars(wrong, None, validation, steps=2)
    assert fitted.levels is not None
    for level in fitted.levels:
        assert level.ratio == pytest.approx(1 / 0.97, abs=0.03)
    known = frames_of(clean_frames(1, 2), truth=True, seed=1)
    assert fit_error_bars(one, None, known, steps=2).levels is None
