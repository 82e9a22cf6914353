"""Choice of the form of the network, and its messages."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import torch

from denoisplit.errors import InputError
from denoisplit.network.vse import VSE
from denoisplit.prediction import autotune as tuning
from denoisplit.prediction.autotune import PAYS_AFTER, WORTH_MEASURING, Form, fastest
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling

LONG = 1e12  # pixels times samples


def network() -> VSE:
    torch.manual_seed(0)
    return VSE(2, filters=4, latents=2, levels=2, patch=16).eval()


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[Form, float]:
    """Measured seconds per pixel of each form, filled by the tests."""
    seconds: dict[Form, float] = {}
    monkeypatch.setattr(tuning, "seconds_per_pixel", lambda model, form, *_: seconds[form])
    return seconds


def test_nothing_is_measured_where_there_is_nothing_to_choose(seconds: dict[Form, float]) -> None:
    assert fastest(network(), "32", "off", LONG) == Form()
    assert fastest(network(), "32", "auto", WORTH_MEASURING / 2) == Form()


def test_float32_unless_bfloat16_is_allowed_and_faster(seconds: dict[Form, float]) -> None:
    seconds.update({Form(): 2e-6, Form("bf16"): 1e-6})
    assert fastest(network(), "32", "off", LONG) == Form()
    assert fastest(network(), "bf16", "off", LONG) == Form("bf16")
    seconds[Form("bf16")] = 3e-6
    assert fastest(network(), "bf16", "off", LONG) == Form()


def test_little_work_is_measured_on_a_small_image(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    monkeypatch.setattr(tuning, "seconds_per_pixel", lambda _, form, side: sides.append(side) or 1)
    for work in (WORTH_MEASURING / 2, WORTH_MEASURING):
        fastest(network(), "bf16", "off", work)
    assert sides == [64, 64, 256, 256]


def test_compiled_where_it_is_faster_and_there_is_enough_to_do(
    seconds: dict[Form, float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "denoisplit")
    seconds.update({Form(): 2e-6, Form(compiled=True): 1e-6})
    enough = PAYS_AFTER / 2e-6
    assert fastest(network(), "32", "auto", 0.9 * enough) == Form()
    assert fastest(network(), "32", "auto", 1.1 * enough) == Form(compiled=True)
    assert fastest(network(), "32", "on", 1) == Form(compiled=True)
    assert "measured: float32, compiled" in caplog.text and "float32 2.00" in caplog.text
    seconds[Form(compiled=True)] = 3e-6
    assert fastest(network(), "32", "auto", LONG) == Form()


def test_without_a_compiler_it_is_not_compiled_or_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "denoisplit")

    def measured(model: VSE, form: Form, *_: int) -> float:
        if form.compiled:
            raise RuntimeError("no compiler\nand more")
        return 1e-3

    monkeypatch.setattr(tuning, "seconds_per_pixel", measured)
    assert fastest(network(), "32", "auto", LONG) == Form()
    assert "not compiled: no compiler" in caplog.text
    with pytest.raises(InputError) as error:
        fastest(network(), "32", "on", LONG)
    assert str(error.value) == (
        "`compile` failed (no compiler); "
        "install a C++ compiler, for a GPU also Triton, or predict without it"
    )


def test_a_measurement_takes_the_network_of_the_run() -> None:
    assert 0 < tuning.seconds_per_pixel(network(), Form()) < 1e-3


# torch's compiler imports what torch itself has deprecated
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_network_predicts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)
    model = network()
    frame = np.random.default_rng(0).normal(size=(40, 56)).astype(np.float32)
    sampling = Sampling(3, keep=3)  # a pair and one alone
    plain = predict_frame(model, frame, sampling, tile=32, halo=16).samples
    found = predict_frame(
        Form(compiled=True).apply(model), frame, sampling, tile=32, halo=16
    ).samples
    assert 0 < np.abs(found - plain).max() < 2e-6 * np.ptp(plain)
