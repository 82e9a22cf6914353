"""Weights of other implementations: CAREamics' own output for the same latent noise, and names."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from denoisplit_zoo import import_weights
from torch import Tensor
from torch.distributions.normal import Normal

from denoisplit.errors import InputError
from denoisplit.network.vse import VSE
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling

SIDE = 64


@pytest.fixture(scope="module")
def ladder() -> Iterator[Any]:
    """CAREamics' network alone: what its packages import on top is not needed, nor installed."""
    spec = importlib.util.find_spec("careamics")
    assert spec is not None and spec.submodule_search_locations, "run `make env`: it installs it"
    root = Path(spec.submodule_search_locations[0])
    for name in ("careamics", "careamics.models", "careamics.config"):
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules[name] = types.ModuleType(name)  # crops odd sizes, which there are none of here
    sys.modules["torchvision.transforms"].functional = sys.modules[  # type: ignore[attr-defined]
        "torchvision.transforms.functional"
    ]
    try:
        from careamics.models.lvae.lvae import LadderVAE

        yield LadderVAE
    finally:
        # those of torch that came along stay: it cannot be imported twice
        for name in list(sys.modules):
            if name.partition(".")[0] in ("careamics", "torchvision"):
                del sys.modules[name]


def theirs(ladder: Any, *, structures: int = 2, logvar: str | None = None, levels: int = 4) -> Any:
    """An untrained network of theirs whose statistics are not those of the start."""
    torch.manual_seed(structures)
    model = ladder(
        (SIDE, SIDE), structures, 1, [5] * levels, 16, 16, [2, 2], [2, 2], 0.1, 0.1, "ELU", logvar,
        False,
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize(
    ("structures", "logvar", "levels"), [(2, None, 4), (3, "pixelwise", 4), (1, None, 3)]
)
def test_careamics_own_output_for_the_same_noise(
    ladder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    structures: int, logvar: str | None, levels: int,
) -> None:  # fmt: skip
    model = theirs(ladder, structures=structures, logvar=logvar, levels=levels)
    torch.save(model.state_dict(), tmp_path / "weights.ckpt")
    state = torch.get_rng_state()
    ours = import_weights(tmp_path / "weights.ckpt", target_mean=[0.0] * structures)
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.randn(2, 1, SIDE, SIDE)
    eps = [torch.randn(2, 5, SIDE >> i, SIDE >> i) for i in range(1, levels + 1)]
    left = list(eps)

    def drawn(self: Normal, *_: Any) -> Tensor:
        return self.mean + self.stddev * left.pop()

    monkeypatch.setattr(Normal, "rsample", drawn)
    with torch.inference_mode():
        expected, _ = model(x)
        found = ours.decode(ours.encode(x), eps)
    assert not left
    assert found.shape == expected.shape == (2, structures * (2 if logvar else 1), SIDE, SIDE)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_imported_weights_predict_in_raw_units(ladder: Any) -> None:
    weights = theirs(ladder).state_dict()
    frame = np.random.default_rng(0).normal(300, 40, (50, 70))
    plain = import_weights(weights, input_mean=300, input_std=40)
    scaled = import_weights(
        weights, input_mean=300, input_std=40, target_mean=[100, 200], target_std=[10, 20]
    )
    sampling = Sampling(samples=4, seed=1)
    a, b = (predict_frame(model, frame, sampling).mean for model in (plain, scaled))
    expected = np.array([100, 200])[:, None, None] + np.array([10, 20])[:, None, None] * a
    np.testing.assert_allclose(b, expected, rtol=1e-5)


def published(state: dict[str, Tensor]) -> dict[str, Any]:
    """Names as in a Lightning checkpoint of the published code."""
    renamed = {}
    for name, value in state.items():
        if name.startswith("parameter_net"):
            continue
        renamed["model." + name.replace("output_layer", "likelihood.parameter_net")] = value
    renamed["likelihoodNM.noiseModel1.weight"] = torch.zeros(3)
    return {"state_dict": renamed, "epoch": 3}


def test_the_published_names(ladder: Any, tmp_path: Path) -> None:
    state = theirs(ladder).state_dict()
    torch.save(published(state), tmp_path / "last.ckpt")
    found, expected = import_weights(tmp_path / "last.ckpt"), import_weights(state)
    for key, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], value), key


def test_weights_of_something_else_are_refused_in_one_line(ladder: Any, tmp_path: Path) -> None:
    state = theirs(ladder).state_dict()
    first = "first_bottom_up.0.weight"
    contextual = state | {"lowres_first_bottom_ups.0.0.weight": torch.zeros(3)}
    cases: list[tuple[Any, str]] = [
        (tmp_path / "none.ckpt", "this file cannot be read"),
        (VSE(filters=8, latents=4).state_dict(), "no top_down_layers"),
        (contextual, "lowres_first_bottom_ups.0.0.weight"),
        ({k: v for k, v in state.items() if k != first}, "encoder.first.0.weight"),
        (
            state | {first: torch.zeros(16, 1, 5, 5)},
            "these are not the weights of CAREamics' LadderVAE or of denoiSplit",
        ),
        (
            theirs(ladder, levels=5).state_dict(),
            "this network has 5 levels, and at most 4 can be imported",
        ),
        ({"state_dict": 3}, "no top_down_layers"),
    ]
    (tmp_path / "text.ckpt").write_bytes(b"no weights")
    cases.append((tmp_path / "text.ckpt", "this file is not a plain state dict"))
    for weights, words in cases:
        with pytest.raises(InputError) as caught:
            import_weights(weights)
        text = str(caught.value)
        assert words in text and "\n" not in text, text
    with pytest.raises(InputError, match="2 output planes is not one of 3 structures"):
        import_weights(state, target_mean=[1.0, 2.0, 3.0])
