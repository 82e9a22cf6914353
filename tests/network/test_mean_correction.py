"""The correction of decoded means: nothing before training, local, stored with the error map."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from denoisplit.errors import InputError
from denoisplit.network.inference import inference_form
from denoisplit.network.mean_correction import RADIUS, MeanCorrection, mean_correction_of
from denoisplit.network.vse import VSE
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.run import ERROR_MAP, MEANS, correct_means, load_error_map, save_error_map
from tests.network.test_error_map import images, plain_network, random_error_map


def random_correction(structures: int = 2) -> MeanCorrection:
    """An untrained correction that adds something everywhere."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        correction = MeanCorrection(structures, filters=5)
        for value in correction.layers[-1].parameters():
            nn.init.normal_(value)
    return correction.eval().requires_grad_(False)


def decoded_means(network: VSE, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return network.decoded_means(network.encode(network.normalise(x)), x)


def network() -> VSE:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return plain_network().eval()


def test_an_untrained_correction_changes_nothing() -> None:
    model, (x, _) = network(), images()
    before = decoded_means(model, x)
    correct_means(model, MeanCorrection(2))
    assert torch.equal(decoded_means(model, x), before)


def test_decoded_means_are_the_output_for_no_noise() -> None:
    model, (x, _) = network(), images()
    zero = [torch.zeros(1, *shape) for shape in model.latent_shapes(*x.shape[-2:])]
    with torch.inference_mode():
        output = model.decode(model.encode(model.normalise(x)), zero)
    assert torch.equal(decoded_means(model, x), model.to_raw(model.means(output)))


def test_a_correction_moves_means_by_its_output_in_units_of_the_structures() -> None:
    model, (x, _) = network(), images()
    before = decoded_means(model, x)
    correction = random_correction()
    correct_means(model, correction)
    scale, offset = model.target_std[:, None, None], model.target_mean[:, None, None]
    moved = correction(model.normalise(x), (before - offset) / scale) * scale
    assert moved.abs().amax(dim=(0, 2, 3)).min() > 0.1
    torch.testing.assert_close(decoded_means(model, x) - before, moved, rtol=1e-3, atol=1e-3)


def test_a_pixel_changes_the_correction_within_its_radius_only() -> None:
    correction, (x, means) = random_correction(), images()
    changed = means.clone()
    changed[..., 20, 20] += 30
    difference = (correction(x, changed) - correction(x, means)).abs().amax(dim=(0, 1))
    rows, columns = torch.nonzero(difference > 0, as_tuple=True)
    assert len(rows) > RADIUS**2
    assert max((rows - 20).abs().max(), (columns - 20).abs().max()) <= RADIUS


def test_samples_are_not_corrected_but_previews_are() -> None:
    model, frame = network(), images()[0][0, 0].numpy()
    plain = {s: predict_frame(model, frame, Sampling(s), halo=20).mean for s in (0, 2)}
    correct_means(model, random_correction())
    corrected = {s: predict_frame(model, frame, Sampling(s), halo=20).mean for s in (0, 2)}
    assert (corrected[2] == plain[2]).all()
    assert abs(corrected[0] - plain[0]).max() > 0.1


def test_the_form_for_prediction_corrects_alike() -> None:
    model, (x, _) = network(), images()
    correct_means(model, random_correction())
    torch.testing.assert_close(
        decoded_means(inference_form(model), x), decoded_means(model, x), rtol=1e-4, atol=1e-3
    )


def test_a_stored_correction_is_read_into_the_network(tmp_path: Path) -> None:
    model, (x, _) = network(), images()
    plain = copy.deepcopy(model)
    correct_means(model, random_correction())
    save_error_map(random_error_map(model), tmp_path, model.mean_correction)
    assert load_error_map(tmp_path, plain) is not None
    assert torch.equal(decoded_means(plain, x), decoded_means(model, x))


DAMAGED = {
    "missing": "it has no layers.2.weight of shape",
    "of other structures": "it has no layers.0.weight of shape",
    "infinite": "not finite",
    "no filters": "has 0 filters",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_correction_is_refused(damage: str, tmp_path: Path) -> None:
    correction = random_correction(3 if damage == "of other structures" else 2)
    state = correction.state_dict()
    if damage == "missing":
        del state["layers.2.weight"]
    elif damage == "infinite":
        state["layers.4.bias"][0] = torch.inf
    elif damage == "no filters":
        state["layers.0.bias"] = torch.zeros(0)
    with pytest.raises(ValueError, match=DAMAGED[damage]):
        mean_correction_of(state, 2)
    if damage in ("of other structures", "infinite"):
        save_error_map(random_error_map(plain_network()), tmp_path, correction)
        with pytest.raises(InputError, match="error map is not readable") as caught:
            load_error_map(tmp_path, plain_network())
        assert str(tmp_path / ERROR_MAP) in str(caught.value)


def test_a_network_without_a_correction_has_no_state_of_one() -> None:
    assert not [name for name in network().state_dict() if name.startswith(MEANS)]
