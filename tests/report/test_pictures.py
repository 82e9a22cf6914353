"""What is drawn of one test frame."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from denoisplit.evaluation.metrics import range_invariant_psnr
from denoisplit.images.display import light
from denoisplit.prediction.frame import Prediction
from denoisplit.report.example import busiest_crop, choose_example_frame
from denoisplit.report.pictures import composite, overview_figure, structure_figure
from denoisplit.report.style import png, scale_bar_length


def example_of(made, *, antithetic=True, pixel_size_um=0.1):
    return choose_example_frame(
        made.frames, made.predictions, made.scalars,
        antithetic=antithetic, pixel_size_um=pixel_size_um, errors=made.errors,
    )  # fmt: skip


def panels(figure):
    """Titles and images of the image panels, in order; colour keys are left out."""
    return {axes.get_title("left"): axes.images[0] for axes in figure.axes if axes.images}


def notes(figure):
    return {a.get_title("left"): a.get_title("right") for a in figure.axes if a.images}


def test_the_frame_of_median_psnr_is_shown(made) -> None:
    parts = made(frames=3)
    example = example_of(parts)
    assert (example.number, example.count) == (2, 3)
    np.testing.assert_array_equal(example.mean, parts.predictions[1].mean)
    np.testing.assert_array_equal(example.truth, parts.frames.truth[1])
    expected = [range_invariant_psnr(parts.frames.truth[1][k], example.mean[k]) for k in (0, 1)]
    assert example.psnr["mean"] == pytest.approx(expected)


def test_std_is_calibrated_per_structure(made) -> None:
    parts = made()
    example = example_of(parts)
    spread = parts.predictions[1].spread
    np.testing.assert_allclose(example.std, spread * np.array([2, 3])[:, None, None], rtol=1e-6)


def test_std_is_that_of_the_error_map_where_there_is_one(made) -> None:
    parts = made(error_map=True)
    np.testing.assert_array_equal(example_of(parts).std, parts.predictions[1].bars.std)


def test_without_truth_the_frame_is_chosen_by_estimated_errors(made) -> None:
    parts = made(truth=False)
    # what is estimated here decreases from frame to frame; of these, the second is moved to the end
    order = [0, 2, 1]
    for images in ("truth", "observed", "inputs"):
        setattr(parts.frames, images, [getattr(parts.frames, images)[j] for j in order])
    parts.predictions, parts.errors = (
        [values[j] for j in order] for values in (parts.predictions, parts.errors)
    )
    example = example_of(parts)
    assert (example.number, example.chosen_by) == (3, "PSNR, estimated without truth")
    assert set(example.psnr.values()) == {(None, None)}
    parts.errors = None
    example = example_of(parts)
    assert (example.number, example.chosen_by) == (2, "")


def test_no_panel_is_compared_with_a_noisy_image(made) -> None:
    figure = structure_figure(example_of(made(truth=False)), 0)
    assert set(notes(figure).values()) == {""}


@pytest.mark.parametrize(
    ("kept", "antithetic", "shown"), [(4, True, [0, 2]), (4, False, [0, 1]), (2, True, [0, 1])]
)
def test_samples_shown_are_no_mirror_images(made, kept, antithetic, shown) -> None:
    parts = made()
    parts.predictions = [Prediction(p.mean, p.spread, p.samples[:kept]) for p in parts.predictions]
    example = example_of(parts, antithetic=antithetic)
    np.testing.assert_array_equal(example.samples, parts.predictions[1].samples[shown])


def test_a_large_frame_is_cropped_where_there_is_most_to_see(made) -> None:
    image = np.zeros((2, 600, 700), dtype=np.float32)
    image[:, 300:500, 400:600] = np.random.default_rng(0).normal(size=(2, 200, 200))
    y, x = busiest_crop(image)
    assert y <= 300 and y + 256 >= 500 and x <= 400 and x + 256 >= 600

    parts = made(frames=1, shape=(300, 280))
    example = example_of(parts)
    y, x = example.origin
    crop = np.s_[:, y : y + 256, x : x + 256]
    assert example.is_part and example.frame_shape == (300, 280)
    for shown, whole in (
        (example.truth, parts.frames.truth[0]),
        (example.mean, parts.predictions[0].mean),
        (example.observed, parts.frames.observed[0]),
    ):
        assert shown.shape == (2, 256, 256)
        np.testing.assert_array_equal(shown, whole[crop])


def test_a_small_frame_is_shown_whole(made) -> None:
    example = example_of(made())
    assert not example.is_part and example.origin == (0, 0) and example.input.shape == (64, 48)


def test_panels_of_a_structure(made) -> None:
    parts = made()
    example = example_of(parts)
    figure = structure_figure(example, 1)
    shown = panels(figure)
    assert list(shown) == [
        "input", "noisy target", "prediction (MMSE)", "truth",
        "sample 1", "sample 2", "sample 1 − sample 2", "error bar (std)",
    ]  # fmt: skip
    for title, image in {
        "input": example.input,
        "noisy target": example.observed[1],
        "prediction (MMSE)": example.mean[1],
        "truth": example.truth[1],
        "sample 1": example.samples[0, 1],
        "sample 1 − sample 2": example.samples[0, 1] - example.samples[1, 1],
        "error bar (std)": example.std[1],
    }.items():
        np.testing.assert_array_equal(shown[title].get_array(), image, err_msg=title)
    ranges = {title: image.get_clim() for title, image in shown.items()}
    same = {ranges[title] for title in ("truth", "prediction (MMSE)", "sample 1", "sample 2")}
    assert len(same) == 1
    low, high = ranges["sample 1 − sample 2"]
    assert low == -high < 0
    assert ranges["error bar (std)"][0] == 0
    texts = notes(figure)
    assert texts["prediction (MMSE)"] == f"{example.psnr['mean'][1]:.1f} dB"
    assert texts["sample 2"] == f"{example.psnr['sample 2'][1]:.1f} dB"
    assert texts["truth"] == texts["error bar (std)"] == texts["sample 1 − sample 2"] == ""


def test_panels_do_not_overlap_and_stay_inside(made) -> None:
    figure = structure_figure(example_of(made()), 0)
    figure.canvas.draw()
    boxes = [a.get_window_extent() for a in figure.axes if a.images]
    assert len(boxes) == 8
    whole = figure.bbox
    for i, box in enumerate(boxes):
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 + 1
        assert whole.y0 <= box.y0 and box.y1 <= whole.y1 + 1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_without_truth_there_is_no_truth_panel(made) -> None:
    example = example_of(made(truth=False))
    assert example.truth is None
    assert list(panels(structure_figure(example, 0))) == [
        "input", "prediction (MMSE)", "recorded, noisy", "error bar (std)",
        "sample 1", "sample 2", "sample 1 − sample 2",
    ]  # fmt: skip
    assert list(panels(overview_figure(example))) == ["input", "split", "recorded, noisy"]


def test_one_structure_is_not_shown_twice(made) -> None:
    example = example_of(made(structures=1))
    assert "noisy target" not in panels(structure_figure(example, 0))
    assert not overview_figure(example).axes[1].texts


@pytest.mark.parametrize("structures", [2, 3])
def test_overview_in_colours(made, structures) -> None:
    example = example_of(made(structures=structures))
    figure = overview_figure(example)
    shown = panels(figure)
    assert list(shown) == ["input", "split", "truth"]
    assert shown["split"].get_array().shape == (64, 48, 3)
    names = figure.axes[1].texts
    assert [text.get_text() for text in names] == list(example.names)
    assert [text.get_color() for text in names] == [light(k, structures) for k in range(structures)]


def test_composite_adds_colours_up() -> None:
    images = np.zeros((2, 1, 3))
    images[0, 0, 1], images[1, 0, 2] = 10, 20
    colours = composite(images, [(0, 10), (0, 20)])
    np.testing.assert_allclose(colours[0], [(0, 0, 0), to_rgb(light(0, 2)), to_rgb(light(1, 2))])


def test_scale_bar_only_where_the_pixel_size_is_known(made) -> None:
    example = example_of(made(), pixel_size_um=0.1)  # 4.8 µm wide
    (bar,) = structure_figure(example, 0).axes[0].lines
    start, end = bar.get_xdata()
    assert (end - start) * 0.1 == pytest.approx(1.0)
    assert "1 µm" in [text.get_text() for text in overview_figure(example).axes[0].texts]
    without = example_of(made(), pixel_size_um=None)
    assert not structure_figure(without, 0).axes[0].lines


@pytest.mark.parametrize(
    ("width", "length"), [(100, 20), (4.8, 1), (80, 20), (0.9, 0.2), (1000, 200)]
)
def test_scale_bar_length_is_round(width, length) -> None:
    assert scale_bar_length(width) == pytest.approx(length)


def test_a_constant_image_can_be_drawn(made) -> None:
    parts = made(frames=1)
    flat = [Prediction(0 * p.mean, p.spread, 0 * p.samples) for p in parts.predictions]
    parts.predictions = flat
    assert png(structure_figure(example_of(parts), 0)).startswith(b"\x89PNG")
