"""What is drawn of training, calibration and noise models."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from denoisplit.evaluation.calibration import calibration_curve
from denoisplit.evaluation.risk import SquaredErrors, noise_variance
from denoisplit.noise_models import GaussianMixture
from denoisplit.report.plots import (
    NoiseModelRow,
    calibration_figure,
    loss_figure,
    noise_density,
    noise_models_figure,
    read_history,
    structure_calibrations,
)
from denoisplit.report.style import legend, new_figure, png

HISTORY = """epoch,step,train_loss,train_data,train_kl,val_loss,val_data,val_kl
1,10,5.5,5.0,0.5,5.6,5.0,0.6
2,20,5.0,4.6,0.4,,,
3,30,4.5,4.2,0.3,4.7,4.3,0.4
"""


def gaussian(variance: float) -> GaussianMixture:
    weight = np.zeros((3, 2))
    weight[1] = np.log(variance), -50.0
    return GaussianMixture(weight, 0.0, 200.0, 1e-3)


def test_a_slow_machine_draws_legends_without_a_warning(monkeypatch) -> None:
    clock = SimpleNamespace(perf_counter=itertools.count(0, 2).__next__)  # 2 s between two looks
    monkeypatch.setattr("matplotlib.legend.time", clock)
    figure = new_figure(2.0)
    axes = figure.add_subplot()
    axes.plot([0, 1], label="a line")
    legend(axes)
    assert png(figure).startswith(b"\x89PNG")


def test_loss_curves(tmp_path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(HISTORY)
    figure = loss_figure(read_history(path))
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["loss = data term + KL", "data term", "KL"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"step"}
    training, validation = figure.axes[0].lines
    assert (training.get_label(), validation.get_label()) == ("training", "validation")
    np.testing.assert_array_equal(training.get_xdata(), [10, 20, 30])
    np.testing.assert_array_equal(training.get_ydata(), [5.5, 5.0, 4.5])
    np.testing.assert_array_equal(validation.get_ydata(), [5.6, np.nan, 4.7])
    np.testing.assert_array_equal(figure.axes[2].lines[1].get_ydata(), [0.6, np.nan, 0.4])


@pytest.mark.parametrize("structures", [1, 2, 3])
def test_calibration_plot(made, structures) -> None:
    parts = made(structures=structures)
    found = structure_calibrations(parts.frames, parts.predictions, parts.scalars)
    figure = calibration_figure(found)
    assert [axes.get_title("left") for axes in figure.axes] == list(parts.names)
    for k, axes in enumerate(figure.axes):
        assert (axes.get_xlabel(), axes.get_ylabel()) == (
            "predicted error (RMV)", "real error (RMSE)"
        )  # fmt: skip
        (identity,) = axes.lines
        np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
        truth = [t[k] for t in parts.frames.truth]
        mean, std = [p.mean[k] for p in parts.predictions], [p.spread[k] for p in parts.predictions]
        for points, factor in zip(axes.collections, (1.0, 2.0 + k), strict=True):
            curve = calibration_curve(truth, mean, std, factor)
            expected = np.column_stack([curve.rmv, curve.rmse])
            np.testing.assert_allclose(points.get_offsets(), expected)
        assert axes.get_xlim() == axes.get_ylim()


def test_share_within_one_std(made) -> None:
    parts = made()
    first, second = structure_calibrations(parts.frames, parts.predictions, parts.scalars)
    for k, found in enumerate((first, second)):
        inside = [
            np.abs(t[k] - p.mean[k]) <= (2 + k) * p.spread[k]
            for t, p in zip(parts.frames.truth, parts.predictions, strict=True)
        ]
        assert found.within == pytest.approx(np.mean(inside))


def test_noise_of_the_reference_is_taken_out(made) -> None:
    """Estimated errors give the curve of the true ones; without them there is none."""
    known, parts = made(), made(truth=False)
    assert structure_calibrations(parts.frames, parts.predictions, parts.scalars) == []
    rng = np.random.default_rng(0)
    inside = np.ones(known.frames.truth[0].shape, dtype=bool)
    estimated = [
        SquaredErrors(np.float32((p.mean - t) ** 2 + rng.normal(0, 1, t.shape)), inside)
        for p, t in zip(known.predictions, known.frames.truth, strict=True)
    ]
    for a, b in zip(
        structure_calibrations(known.frames, known.predictions, known.scalars),
        structure_calibrations(parts.frames, known.predictions, known.scalars, estimated),
        strict=True,
    ):
        np.testing.assert_allclose(b.after.rmv, a.after.rmv)
        enough = a.after.count > 100
        np.testing.assert_allclose(b.after.rmse[enough], a.after.rmse[enough], rtol=0.02)
        assert b.within is None


def test_noise_figure_with_pairs() -> None:
    rng = np.random.default_rng(0)
    signal = rng.uniform(0, 200, (2, 300, 300))
    observed = signal + rng.normal(0, 10, signal.shape)
    row = NoiseModelRow(gaussian(100.0), "ER", "#123456", list(signal), list(observed))
    figure = noise_models_figure([row])
    joint, density, variance = figure.axes
    assert (joint.get_title("left"), joint.get_xlabel(), joint.get_ylabel()) == (
        "ER", "signal", "observation"
    )  # fmt: skip
    counts = joint.images[0].get_array() ** 4
    assert counts.sum() == pytest.approx(signal.size, rel=0.01)
    column = counts[:, 60]
    assert abs(column.argmax() / 120 - 0.5) < 0.1
    assert len(density.lines) == len(joint.lines) == 2
    for marker, line in zip(joint.lines, density.lines, strict=True):
        x, y = line.get_data()
        assert np.sum(y) * (x[1] - x[0]) == pytest.approx(1, abs=0.01)
        assert x[y.argmax()] == pytest.approx(marker.get_xdata()[0], abs=1)
    bars = [bar.get_height() for bar in density.patches]
    assert max(bars) == pytest.approx(density.lines[0].get_ydata().max(), rel=0.1)
    np.testing.assert_allclose(variance.lines[0].get_ydata(), 100, rtol=1e-4)
    (points,) = variance.collections
    np.testing.assert_allclose(points.get_offsets()[:, 1], 100, rtol=0.1)


def test_noise_figure_without_pairs() -> None:
    joint, density, variance = noise_models_figure(
        [NoiseModelRow(gaussian(100.0), "ER", "red")]
    ).axes
    assert joint.images[0].get_array().shape == (120, 120)
    assert not density.patches and not variance.collections and len(density.lines) == 2


def test_density_and_variance_of_a_model() -> None:
    x = np.linspace(40, 160, 2001)
    density = noise_density(gaussian(100.0), x, np.array(100.0))
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-4)
    variance = noise_variance(gaussian(100.0), np.array([1.0, 50.0]))
    np.testing.assert_allclose(variance, 100, rtol=1e-5)


def test_a_model_is_not_moved_to_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, model = [], gaussian(100.0)
    monkeypatch.setattr(GaussianMixture, "cpu", lambda self: (moved.append(self), self)[1])
    noise_variance(model, np.array([1.0]))
    noise_density(model, np.array([1.0]), np.array(2.0))
    assert moved and all(one is not model for one in moved)
