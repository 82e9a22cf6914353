"""Lightning's names for the number of processes and the precision of a training."""

from __future__ import annotations

from typing import Any

import torch

from denoisplit.machine.distributed import Team
from denoisplit.network.vse import VSE


def strategy(model: VSE, ranks: Team) -> str:
    """Return the strategy for one process, or for one process per device."""
    if ranks.size == 1:
        return "auto"
    return "ddp_find_unused_parameters_true" if model.has_unused_parameters else "ddp"


def precision(setting: str) -> Any:
    """Return the precision; "auto" is mixed precision on GPUs. Likelihood and KL stay float32."""
    if setting == "auto":
        if not torch.cuda.is_available():
            setting = "32"
        else:
            setting = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[setting]
