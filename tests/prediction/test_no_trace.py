"""Prediction changes nothing that belongs to its caller."""

from __future__ import annotations

import logging
import os
import random
import warnings
from typing import Any

import numpy as np
import torch

from denoisplit.network.context import ContextVSE
from denoisplit.network.vse import VSE
from denoisplit.prediction.autotune import WORTH_MEASURING, fastest
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.halo import halo_errors
from denoisplit.prediction.sampling import Sampling


def state_of(model: VSE) -> Any:
    tensors = {
        name: (value.device, value.dtype, value.data_ptr(), value.stride(), value.requires_grad)
        for name, value in [*model.named_parameters(), *model.named_buffers()]
    }
    classes = {name: (type(module), module.training) for name, module in model.named_modules()}
    return tensors, classes, {name: value.clone() for name, value in model.state_dict().items()}


def surroundings() -> Any:
    kept = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()  # noqa: NPY002
    torch_settings = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    levels = {name: logging.getLogger(name).level for name in ("", "denoisplit", "torch")}
    return kept, torch_settings, levels, dict(os.environ), list(warnings.filters)


def test_prediction_leaves_the_network_and_the_process_as_they_were() -> None:
    sizes: dict[str, Any] = {"filters": 2, "latents": 2, "levels": 2, "patch": 16}
    frame = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
    for model in (VSE(2, **sizes).eval(), ContextVSE(2, **sizes).eval()):
        network, process = state_of(model), surroundings()
        predict_frame(model, frame, Sampling(2), tile=32, halo=16)
        halo_errors(model, [frame], seed=0)
        form = fastest(model, "bf16", "off", 2 * WORTH_MEASURING)
        predict_frame(form.apply(model), frame, Sampling(2), tile=32, halo=16)
        after = state_of(model)
        assert after[:2] == network[:2]
        assert all(torch.equal(value, after[2][name]) for name, value in network[2].items())
        assert surroundings() == process
