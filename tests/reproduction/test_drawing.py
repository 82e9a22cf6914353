"""Contents of the paper's figures: panels, titles, numbers, curves."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from denoisplit.evaluation.metrics import range_invariant_psnr
from denoisplit.report.plots import (
    NoiseModelRow,
    noise_models_figure,
    structure_calibrations,
)
from denoisplit.reproduction.drawing.animation import sampling_gif
from denoisplit.reproduction.drawing.lattice import Cell, Column, density_inset, lattice
from denoisplit.reproduction.drawing.paper_panels import (
    PanelImages,
    denoising_figure,
    samples_figure,
    systems_figure,
    whole_frames_figure,
)
from denoisplit.reproduction.drawing.paper_plots import (
    Line,
    calibration_alone,
    denoising_against_splitting,
    samples_calibration_figure,
)


def images_of(parts, j: int = 0) -> PanelImages:
    return PanelImages(
        parts.names, parts.frames.inputs[j], parts.frames.observed[j], parts.frames.truth[j],
        parts.frames.has_truth, 0.1,
    )  # fmt: skip


def grid(figure, names):
    """Return the axes of the image panels by structure and column title."""
    panels = {}
    for axes in figure.axes:
        if axes.images and ": " in axes.get_label():
            name, title = axes.get_label().split(": ", 1)
            panels[name, title] = axes
    assert {name for name, _ in panels} == set(names)
    return panels


def shown(axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


@pytest.mark.parametrize("structures", [1, 2, 3])
def test_whole_frames(made, structures) -> None:
    parts = made(structures=structures)
    images, mean = images_of(parts), parts.predictions[0].mean
    figure = whole_frames_figure(images, [("muSplit", mean + 1), ("denoiSplit", mean)])
    panels = grid(figure, parts.names)
    # the mixed image once, in the first row; a single structure is its own input
    columns = ["noisy target", "muSplit", "denoiSplit", "high-SNR"][structures == 1 :]
    assert list(panels) == [
        (name, title) for k, name in enumerate(parts.names)
        for title in (["input"] if k == 0 else []) + columns
    ]  # fmt: skip
    for k, name in enumerate(parts.names):
        np.testing.assert_array_equal(shown(panels[name, "denoiSplit"]), mean[k])
        np.testing.assert_array_equal(shown(panels[name, "high-SNR"]), images.truth[k])
        assert panels[name, columns[0]].get_ylabel() == name or structures == 1
        psnr = range_invariant_psnr(images.truth[k], mean[k])
        assert panels[name, "denoiSplit"].get_title("right") == f"{psnr:.1f} dB"
        assert panels[name, "high-SNR"].get_title("right") == ""
        # prediction and truth have one grey scale
        limits = {panels[name, t].images[0].get_clim() for t in ("denoiSplit", "high-SNR")}
        assert len(limits) == 1
        for title, image in (("muSplit", mean[k] + 1), ("denoiSplit", mean[k])):
            (inset,) = panels[name, title].child_axes
            truth, prediction = inset.patches
            assert (truth.get_label(), prediction.get_label()) == ("high-SNR", "prediction")
            for stairs, values in ((truth, images.truth[k]), (prediction, image)):
                density, edges, _ = stairs.get_data()
                expected, _ = np.histogram(values, bins=edges, density=True)
                np.testing.assert_allclose(density, expected)
        assert not panels[name, "high-SNR"].child_axes
    tops = [panels[parts.names[0], title].get_title("left") for title in ["input", *columns]]
    assert tops == ["input", *columns]
    note = panels[parts.names[0], "input"].get_title("right")
    assert note.count("/") == structures - 1 and note.endswith(" dB")


def test_recorded_images_are_not_called_high_snr(made) -> None:
    parts = made(truth=False)
    figure = systems_figure(images_of(parts), [("denoiSplit", parts.predictions[0].mean)])
    titles = {title for _, title in grid(figure, parts.names)}
    assert titles == {"input", "denoiSplit", "recorded, noisy"}


@pytest.mark.parametrize("structures", [1, 2, 3])
def test_samples_and_calibration(made, structures) -> None:
    parts = made(structures=structures)
    images, prediction = images_of(parts), parts.predictions[0]
    curves = structure_calibrations(parts.frames, parts.predictions, parts.scalars)
    units = [10.0 * (k + 1) for k in range(structures)]
    figure = samples_figure(images, prediction.samples[:2], prediction.mean, curves, units, 50)
    panels = grid(figure, parts.names)
    columns = ["noisy target"] * (structures > 1) + [
        "sample 1", "sample 2", "difference", "MMSE (S = 50)", "high-SNR",
    ]  # fmt: skip
    first = parts.names[0]
    assert [title for name, title in panels if name == first] == ["input", *columns]
    for k, name in enumerate(parts.names):
        panel = panels[name, "difference"]
        np.testing.assert_allclose(
            shown(panel), prediction.samples[0, k] - prediction.samples[1, k]
        )
        low, high = panel.images[0].get_clim()
        assert panel.images[0].get_cmap().name == "RdBu_r" and low == -high < 0
        assert panel.get_title("right") == "" and len(panel.child_axes) == 1  # its key
        for title in ("sample 1", "sample 2", "MMSE (S = 50)"):
            assert panels[name, title].get_title("right").endswith(" dB")
    (plot,) = [axes for axes in figure.axes if axes.get_xlabel() == "RMV"]
    assert plot.get_ylabel() == "RMSE" and len(plot.collections) == structures
    (identity,) = plot.lines
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    for points, curve, unit in zip(plot.collections, curves, units, strict=True):
        expected = np.column_stack([curve.after.rmv, curve.after.rmse]) / unit
        np.testing.assert_allclose(points.get_offsets(), expected)
    # in the lower left: below the input, left of all other panels
    box, above = plot.get_position(), panels[first, "input"].get_position()
    others = [axes.get_position().x0 for (_, t), axes in panels.items() if t != "input"]
    assert box.y1 < above.y0 and box.x1 <= min(others) and box.x0 >= 0 and box.y0 >= 0


def test_calibration_alone(made) -> None:
    parts = made()
    curves = structure_calibrations(parts.frames, parts.predictions, parts.scalars)
    (axes,) = calibration_alone(curves, [1.0, 1.0]).axes
    assert axes.get_xlabel().startswith("RMV") and axes.get_ylabel().startswith("RMSE")
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["identity", "ER (std × 2.00)", "actin <b> (std × 3.00)"]
    assert axes.get_xlim() == axes.get_ylim()


def test_a_curve_for_each_number_of_samples(made) -> None:
    parts = made()
    curves = {
        count: [
            c.after for c in structure_calibrations(parts.frames, parts.predictions, parts.scalars)
        ]
        for count in (2, 50, 200)
    }
    panels = samples_calibration_figure(parts.names, curves, [1.0, 2.0]).axes
    assert [axes.get_title("left") for axes in panels] == list(parts.names)
    for k, axes in enumerate(panels):
        labels = [line.get_label() for line in axes.lines]
        assert labels == ["identity", "S = 2", "S = 50", "S = 200"]
        np.testing.assert_allclose(axes.lines[1].get_xdata(), curves[2][k].rmv / (k + 1))
        assert len({tuple(line.get_color()) for line in axes.lines[1:]}) == 3


def test_denoising_against_splitting() -> None:
    lines = [
        Line("ER", "HDN, alone", [1, 2], [35, 30], [0.1, 0.2]),
        Line("ER", "denoiSplit, ER and MT", [1, 2], [31, 28], [0.1, 0.2]),
        Line("MT", "HDN, alone", [1], [33], [0.0]),
    ]
    panels = denoising_against_splitting(lines).axes
    assert [axes.get_title("left") for axes in panels] == ["ER", "MT"]
    assert "σ" in panels[0].get_xlabel() and panels[0].get_ylabel() == "PSNR (dB)"
    labels = [[bars.get_label() for bars in axes.containers] for axes in panels]
    assert labels == [["HDN, alone", "denoiSplit, ER and MT"], ["HDN, alone"]]
    points = [bars.lines[0].get_xydata().tolist() for bars in panels[0].containers]
    assert points == [[[1, 35], [2, 30]], [[1, 31], [2, 28]]]


def test_patches_of_every_structure_denoised(made) -> None:
    parts = made(structures=1, frames=3)
    rows = [[(images_of(parts, j), parts.predictions[j].mean)] * 2 for j in range(3)]
    figure = denoising_figure(rows)
    images = [axes for axes in figure.axes if axes.images]
    assert len(images) == 3 * 2 * 3
    titles = [axes.get_title("left") for axes in images]
    assert titles[:6] == ["ER: noisy", "HDN", "high-SNR"] * 2 and not any(titles[6:])
    np.testing.assert_array_equal(shown(images[7]), parts.predictions[1].mean[0])
    assert images[7].get_title("right").endswith(" dB")


def test_a_row_for_each_noise_model(made) -> None:
    parts = made()
    model = parts.noise_models[0]
    signal, observed = parts.frames.truth[0][0], parts.frames.observed[0][0]
    figure = noise_models_figure(
        [
            NoiseModelRow(model, "ER", "black", [signal], [observed]),
            NoiseModelRow(model, "MT", "black"),
        ]
    )
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == [
        title for name in ("ER", "MT")
        for title in (name, "density at two signals", "variance against signal")
    ]  # fmt: skip
    counts, *_ = np.histogram2d(observed.ravel(), signal.ravel(), bins=120)
    total = np.asarray(figure.axes[0].images[0].get_array()).astype(float) ** 4
    assert 0.9 * counts.sum() <= total.sum() <= counts.sum() + 1e-6
    densities = figure.axes[1].lines
    assert len(densities) == 2 and all("signal" in line.get_label() for line in densities)


def test_pixels_are_not_resampled_and_large_images_are_reduced() -> None:
    def drawn(side: int):
        cell = Cell(np.zeros((side, side)), (0.0, 1.0))
        return lattice([Column("a", [cell])], ["ER"], side=2.5)

    for side, times in ((64, 5), (256, 2), (300, 1)):
        width = drawn(side).panels[0][0].get_window_extent().width
        assert width == pytest.approx(times * side)
    large = drawn(1000)
    assert large.panels[0][0].get_window_extent().width == pytest.approx(640)
    assert large.panels[0][0].images[0].get_interpolation() == "antialiased"


def test_a_density_of_a_constant_prediction_is_drawn() -> None:
    grid = lattice([Column("a", [Cell(np.zeros((8, 8)), (0.0, 1.0))])], [""])
    density_inset(grid.panels[0][0], np.zeros((8, 8)), np.zeros((8, 8)), "red")
    assert len(grid.panels[0][0].child_axes) == 1


def test_a_frame_for_each_sample() -> None:
    rng = np.random.default_rng(0)
    samples = rng.random((5, 2, 64, 64)).astype(np.float32)
    images = PanelImages(("ER", "MT"), samples[0, 0], samples[0], samples[0], True, 0.1)
    content = sampling_gif(images, samples)
    with Image.open(io.BytesIO(content)) as gif:
        assert gif.format == "GIF" and gif.n_frames == 5 and gif.info["loop"] == 0
        frames = []
        for number in range(5):
            gif.seek(number)
            frames.append(np.asarray(gif.convert("L")).astype(int))
    width = frames[0].shape[1]
    left, right = np.s_[:, : width // 3], np.s_[:, width // 3 + 8 :]
    for before, after in pairwise(frames):
        np.testing.assert_array_equal(before[left], after[left])  # the input stays
        assert np.mean(before[right] != after[right]) > 0.5
