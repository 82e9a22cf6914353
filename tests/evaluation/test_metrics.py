"""PSNR and MS-SSIM: what must not change them, what must, and small examples by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from denoisplit.evaluation.metrics import (
    BLUR_SIGMAS,
    MS_SSIM_MIN_SIDE,
    MS_SSIM_WEIGHTS,
    FrameAverage,
    align,
    average_over_frames,
    blur,
    blur_psnr,
    ms_ssim,
    range_invariant_psnr,
)

Image = NDArray[np.float64]


def smooth(seed: int, size: int = 64) -> Image:
    noise = np.random.default_rng(seed).normal(loc=0.5, size=(size, size))
    return blur(1000 * noise, 3)


def noisy(image: Image, relative: float, seed: int = 9) -> Image:
    noise = np.random.default_rng(seed).normal(size=image.shape)
    return image + relative * float(image.std()) * noise


@pytest.mark.parametrize(
    ("scale", "offset"), [(1, 0), (3.5, -20), (1e-6, 1e3), (1e9, 0), (-1, 0), (-0.2, 700)]
)
def test_psnr_ignores_scale_and_offset(scale: float, offset: float) -> None:
    truth = smooth(0)
    prediction = noisy(truth, 0.3)
    expected = range_invariant_psnr(truth, prediction)
    assert range_invariant_psnr(truth, scale * prediction + offset) == pytest.approx(expected)


def test_psnr_ignores_scale_and_offset_of_the_truth() -> None:
    truth = smooth(0)
    prediction = noisy(truth, 0.3)
    expected = range_invariant_psnr(truth, prediction)
    assert range_invariant_psnr(7 * truth - 3, prediction) == pytest.approx(expected)


def test_psnr_by_hand() -> None:
    # g - mean = (-1, 1, -1, 1), std with divisor 3 is sqrt(4/3); p - mean = (-1, 1, 0, 0)
    truth = np.array([[0.0, 2.0], [0.0, 2.0]])
    prediction = np.array([[4.0, 6.0], [5.0, 5.0]])
    # g' = sqrt(3/4) (-1, 1, -1, 1); a = sqrt(3/4); g' - a p' = sqrt(3/4) (0, 0, -1, 1)
    expected = 20 * math.log10(2 * math.sqrt(3 / 4) / math.sqrt(3 / 8))
    assert range_invariant_psnr(truth, prediction) == pytest.approx(expected)


def test_psnr_of_a_constant_prediction_needs_no_warning() -> None:
    truth = smooth(1)
    # all that is left is the truth itself: R / sqrt(mean g'^2)
    n = truth.size
    expected = 20 * math.log10(np.ptp(truth) / truth.std(ddof=1) / math.sqrt((n - 1) / n))
    for value in (0.0, 0.1, 1e12):
        got = range_invariant_psnr(truth, np.full_like(truth, value))
        assert got == pytest.approx(expected)


def test_psnr_falls_with_noise_and_takes_integers() -> None:
    truth = np.rint(smooth(2)).astype(np.uint16)
    values = [range_invariant_psnr(truth, noisy(truth.astype(float), s)) for s in (0.1, 0.2, 0.4)]
    assert values == sorted(values, reverse=True)
    # least squares on independent noise loses 20 log10(2) dB per doubling, or a little less
    assert values[0] - values[1] == pytest.approx(6.02, abs=0.3)
    assert range_invariant_psnr(truth, truth) > 200


@pytest.mark.parametrize("value", [0.0, 0.1, 65535.0])
def test_psnr_refuses_a_constant_truth(value: float) -> None:
    with pytest.raises(ValueError, match=r"the same value .* in every pixel"):
        range_invariant_psnr(np.full((8, 8), value), smooth(0, 8))


def test_frames_are_checked() -> None:
    image = smooth(0, 16)
    with pytest.raises(ValueError, match=r"\(16, 16\) and prediction \(15, 16\)"):
        range_invariant_psnr(image, image[1:])
    with pytest.raises(ValueError, match="the same shape"):
        align(image[None], image[None])
    broken = image.copy()
    broken[3, 4] = np.nan
    with pytest.raises(ValueError, match="prediction has values that are not finite"):
        ms_ssim(image, broken, data_range=1.0)


def test_ms_ssim_of_identical_images_is_one() -> None:
    image = smooth(3, 180)
    assert ms_ssim(image, image, data_range=float(np.ptp(image))) == pytest.approx(1, abs=1e-9)


def test_ms_ssim_falls_with_noise() -> None:
    image = smooth(3, 180)
    found = [ms_ssim(image, noisy(image, s), data_range=float(np.ptp(image))) for s in (0.1, 0.5)]
    assert found[0] is not None
    assert found[1] is not None
    assert 1 > found[0] > found[1] > 0


def test_ms_ssim_needs_five_scales() -> None:
    image = smooth(4, MS_SSIM_MIN_SIDE)
    assert ms_ssim(image, image, data_range=1.0) is not None
    assert ms_ssim(image[1:], image[1:], data_range=1.0) is None
    assert ms_ssim(image[:, 1:], image[:, 1:], data_range=1.0) is None


def test_ms_ssim_is_that_of_float64_to_five_digits() -> None:
    """Also for odd sides, an offset, and images of no likeness; with the same least side."""
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    image = smooth(5, 201)[:, :187]
    span = float(np.ptp(image))
    for other in (noisy(image, 0.3), span + 0.8 * image, image[::-1], -image):
        expected = multiscale_structural_similarity_index_measure(
            *(torch.from_numpy(x.astype(np.float64).copy())[None, None] for x in (other, image)),
            data_range=span,
            betas=MS_SSIM_WEIGHTS,
            normalize="relu",
        )
        assert ms_ssim(image, other, data_range=span) == pytest.approx(float(expected), abs=1e-5)
    small = torch.rand(1, 1, MS_SSIM_MIN_SIDE - 1, MS_SSIM_MIN_SIDE)
    with pytest.raises(ValueError, match="height"):
        multiscale_structural_similarity_index_measure(small, small, data_range=1.0)


@pytest.mark.parametrize("data_range", [0.0, -1.0, math.nan])
def test_ms_ssim_refuses_an_impossible_range(data_range: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ms_ssim(smooth(0), smooth(0), data_range=data_range)


def test_align_undoes_scale_and_offset() -> None:
    truth = smooth(5)
    centred, aligned = align(truth, -4 * truth + 30)
    assert abs(centred.mean()) < 1e-9 * np.ptp(truth)
    np.testing.assert_allclose(aligned, centred, atol=1e-9)


def test_align_leaves_an_error_that_no_scale_lowers() -> None:
    truth = smooth(5)
    centred, aligned = align(truth, noisy(truth, 0.5))
    error = np.mean((centred - aligned) ** 2)
    assert all(np.mean((centred - a * aligned) ** 2) > error for a in (0.99, 1.01))
    assert not align(truth, np.full_like(truth, 0.1))[1].any()


def test_score_by_hand() -> None:
    # values 1, 2, 3: std 1, three frames
    assert average_over_frames([1.0, None, 2.0, 3.0]).as_dict() == pytest.approx(
        {"mean": 2.0, "sem": 1 / math.sqrt(3)}
    )
    assert average_over_frames([5.0]) == FrameAverage(5.0, None)
    assert average_over_frames([]) == average_over_frames([None, None]) == FrameAverage(None, None)
    assert average_over_frames([1.0, math.inf]) == FrameAverage(math.inf, None)


def test_blur_reflects_at_the_border() -> None:
    np.testing.assert_allclose(blur(np.full((9, 9), 3), 2), 3.0)
    image = smooth(6)
    assert blur(noisy(image, 1), 2).mean() == pytest.approx(noisy(image, 1).mean())


def test_blur_baseline_takes_one_sigma_for_all_frames() -> None:
    truths = [smooth(seed) for seed in range(3)]
    frames = [noisy(truth, s) for truth, s in zip(truths, (0.05, 2.0, 2.0), strict=True)]
    tables = {
        sigma: [
            range_invariant_psnr(t, blur(f, sigma)) for t, f in zip(truths, frames, strict=True)
        ]
        for sigma in BLUR_SIGMAS
    }
    best = max(tables, key=lambda sigma: float(np.mean(tables[sigma])))
    assert blur_psnr(truths, frames) == tables[best]
    assert blur_psnr(np.stack(truths), np.stack(frames)) == tables[best]
    # a noisy frame alone would take another sigma, so the choice is really a common one
    assert max(tables, key=lambda sigma: tables[sigma][1]) != best


def test_blur_baseline_needs_pairs() -> None:
    with pytest.raises(ValueError, match="1 true and 0 noisy"):
        blur_psnr([smooth(0)], [])
    with pytest.raises(ValueError, match="at least one"):
        blur_psnr([], [])


def test_import_is_cheap() -> None:
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys, denoisplit.evaluation.metrics, denoisplit.evaluation.calibration; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'torchmetrics', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
