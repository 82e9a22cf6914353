"""Error bars of whole frames: tiles equal the whole, and samples do not matter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoisplit.data.pyramid import Pyramid
from denoisplit.network.denoised import DenoisedVSE
from denoisplit.network.error_map import RADIUS, ErrorMap
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE, Denoiser
from denoisplit.prediction.frame import ErrorBars, ErrorMapping, denoise_frame, predict_frame
from denoisplit.prediction.sampling import EncodedPatch, Sampling

from ..network.test_error_map import random_error_map
from .test_frame import SIZES, Array, Stub, frame_of, network, with_context


def map_of_stub() -> ErrorMap:
    """For the structures x and 100 - x of the stub, with x from 0 to 1000."""
    statistics: Any = SimpleNamespace(
        structures=2,
        input_mean=torch.tensor(500.0),
        input_std=torch.tensor(290.0),
        target_mean=torch.tensor([500.0, -400.0]),
        target_std=torch.tensor([290.0, 290.0]),
    )
    return random_error_map(statistics)


def bars_of(
    model: Any, frame: NDArray[Any], error_map: ErrorMap, *, tile: int, halo: int, **sampling: Any
) -> ErrorBars:
    mapping = ErrorMapping(error_map, 1)
    prediction = predict_frame(
        model, frame, Sampling(**sampling), tile=tile, halo=halo, mapping=mapping
    )
    assert prediction.bars is not None
    return prediction.bars


def same(a: ErrorBars, b: ErrorBars, tolerance: float = 0.0) -> None:
    """Within a share of the range of each array, for other sizes of a convolution."""
    for one, other in zip(a, b, strict=True):
        assert one is not None and other is not None
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.ptp(other))


# ---------------------------------------------------------------- tiles


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("tile", [8, 24])
def test_error_bars_do_not_depend_on_tiles(height: int, width: int, tile: int) -> None:
    """The stub sees no context, so the halo is that of the map alone; every pixel is written."""
    frame, error_map = frame_of(height, width, seed=1), map_of_stub()
    whole = bars_of(Stub(), frame, error_map, tile=1000, halo=RADIUS, samples=0)
    tiled = bars_of(Stub(), frame, error_map, tile=tile, halo=RADIUS, samples=0)
    np.testing.assert_array_equal(whole.decoded, np.stack((frame, 100 - frame)))
    for array in tiled:
        assert array is not None and array.shape == (2, height, width) and array.dtype == np.float32
    for a, b in zip(tiled, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_a_halo_below_the_radius_shows() -> None:
    """So that the test above sees what it should."""
    frame, error_map = frame_of(61, 50, seed=1), map_of_stub()
    whole = bars_of(Stub(), frame, error_map, tile=1000, halo=RADIUS, samples=0)
    tiled = bars_of(Stub(), frame, error_map, tile=16, halo=4, samples=0)
    assert np.abs(tiled.std - whole.std).max() > 1e-2 * np.ptp(whole.std)


def test_error_bars_are_those_of_the_map() -> None:
    """Away from the border, outside of which the frame is reflected."""
    frame, error_map = frame_of(48, 40), map_of_stub()
    bars = bars_of(Stub(), frame, error_map, tile=16, halo=RADIUS, samples=4)
    x, means = torch.from_numpy(frame)[None, None], torch.from_numpy(bars.decoded)[None]
    std = error_map(x, means)
    half_width = error_map.half_width(1, means, std)
    inside = np.s_[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
    assert bars.half_width is not None
    np.testing.assert_allclose(bars.std[inside], std[0][inside], rtol=1e-4)
    np.testing.assert_allclose(bars.half_width[inside], half_width[0][inside], rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(45, 620), (620, 45)])
def test_error_bars_of_a_network_are_those_of_one_pass(height: int, width: int) -> None:
    """The receptive radius is 239 px, and 8 px more for the map: 256 px are exact."""
    model, frame = network(), frame_of(height, width)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                module.weight.mul_(2)  # initial weights hardly reach beyond 32 px
    error_map = random_error_map(model)
    whole = bars_of(model, frame, error_map, tile=1000, halo=256, samples=0)
    tiled = bars_of(model, frame, error_map, tile=64, halo=256, samples=0)
    same(tiled, whole, tolerance=1e-4)


@pytest.mark.parametrize("structures", [1, 3])
def test_any_number_of_structures_has_error_bars(structures: int) -> None:
    model = VSE(structures, filters=4, latents=2, levels=2, patch=8).eval()
    bars = bars_of(model, frame_of(9, 13), random_error_map(model), tile=8, halo=8, samples=2)
    assert bars.std.shape == (structures, 9, 13) and (bars.std > 0).all()


# ---------------------------------------------------------------- samples


@pytest.mark.parametrize(
    "sampling",
    [
        {"samples": 1},
        {"samples": 7, "keep": 3},
        {"samples": 4, "seed": 5},
        {"samples": 4, "antithetic": False, "address": "content"},
        {"samples": 40, "tolerance": 100.0},
    ],
)
def test_error_bars_do_not_depend_on_samples(sampling: dict[str, Any]) -> None:
    for model, error_map in ((Stub(noise=1.0), map_of_stub()), (network(), None)):
        model_map = error_map or random_error_map(model)  # type: ignore[arg-type]
        size = {"tile": 32, "halo": 16}
        preview = bars_of(model, frame_of(50, 40), model_map, samples=0, **size)
        same(bars_of(model, frame_of(50, 40), model_map, **size, **sampling), preview)


def test_a_preview_is_one_pass() -> None:
    """Split and error bars come from the same decoded means; samples share the encoding."""

    class Counted(Stub):
        decoded = 0

        def decode(self, features: list[Tensor], eps: list[Tensor]) -> Tensor:
            self.decoded += len(eps[0])
            return super().decode(features, eps)

    mapping = ErrorMapping(map_of_stub())
    for samples, decoded in ((0, 1), (1, 2), (6, 7)):
        model: Any = Counted(noise=1.0)
        found = predict_frame(
            model, frame_of(30, 20), Sampling(samples), tile=99, halo=8, mapping=mapping
        )
        assert (len(model.encoded), model.decoded) == (1, decoded)
        assert found.bars is not None and found.bars.half_width is None
        assert np.array_equal(found.mean, found.bars.decoded) == (samples == 0)


def test_mean_and_samples_are_those_without_a_map() -> None:
    settings = Sampling(6, keep=2)
    frame = frame_of(40, 36)
    plain = predict_frame(Stub(1.0), frame, settings, tile=16, halo=8)  # type: ignore[arg-type]
    found = predict_frame(
        Stub(1.0),  # type: ignore[arg-type]
        frame,
        settings,
        tile=16,
        halo=8,
        mapping=ErrorMapping(map_of_stub()),
    )
    assert plain.bars is None and found.bars is not None
    for a, b in zip(found[:3], plain[:3], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_form_for_prediction_has_the_same_error_bars() -> None:
    model, frame = network(), frame_of(40, 40)
    error_map = random_error_map(model)
    fast = bars_of(inference_form(model), frame, error_map, tile=32, halo=16, samples=2)
    same(fast, bars_of(model, frame, error_map, tile=32, halo=16, samples=2), tolerance=1e-4)


# ---------------------------------------------------------------- context


def test_a_network_with_context_has_error_bars_of_its_patches() -> None:
    """Whatever tiling is asked for; the map sees the frame, not the planes around it."""
    model, frame = with_context(), frame_of(70, 45)
    error_map = random_error_map(model)
    bars = bars_of(model, frame, error_map, tile=1000, halo=96, samples=0)
    assert bars.std.shape == (2, 70, 45) and (bars.std > 0).all()
    same(bars_of(model, frame, error_map, tile=16, halo=0, samples=3, seed=2), bars)
    _check_patch(model, frame, error_map, bars)


def denoised() -> DenoisedVSE:
    torch.manual_seed(0)
    model = DenoisedVSE(2, filters=4, latents=3, patch=32)
    model.denoiser = Denoiser(
        VSE(1, filters=4, latents=2, levels=2, patch=8), samples=4, tile=32, halo=16
    )
    for part in (model, model.denoiser.network):
        part.input_mean.fill_(500.0)
        part.input_std.fill_(290.0)
        part.target_mean.fill_(500.0)
        part.target_std.fill_(290.0)
    for name, parameter in model.named_parameters():
        if "latent_out.weight" in name:
            parameter.data.mul_(4)
    return model.eval()


def test_a_chain_has_the_error_bars_of_its_decoded_means() -> None:
    """Those of the denoiser too, also beside samples."""
    model, frame = denoised(), frame_of(70, 45)
    error_map = random_error_map(model)
    bars = bars_of(model, frame, error_map, tile=0, halo=0, samples=0)
    for sampling in ({"samples": 4}, {"samples": 2, "seed": 3}):
        same(bars_of(model, frame, error_map, tile=0, halo=0, **sampling), bars)
    mean = predict_frame(model, frame, Sampling(0)).mean
    np.testing.assert_array_equal(mean, bars.decoded)
    assert np.abs(predict_frame(model, frame, Sampling(2)).mean - mean).max() > 0
    _check_patch(model, denoise_frame(model, frame, Sampling(0)), error_map, bars)


def _check_patch(model: VSE, frame: Array, error_map: ErrorMap, bars: ErrorBars) -> None:
    """Compare with the patch at (16, 0), cut by hand: the middle half of it is kept."""
    planes = Pyramid(frame, planes=3, patch=32, margin=32).cut(16 - 8, -8)
    encoded = EncodedPatch(model, planes, y=8, x=-8)
    assert torch.equal(encoded.frame, torch.from_numpy(planes[:1]))
    std = error_map(encoded.frame[None], encoded.decoded_means[None])
    np.testing.assert_array_equal(std[0, :, 8:24, 8:24].numpy(), bars.std[:, 16:32, :16])
