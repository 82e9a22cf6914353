"""How a training uses the machine: by how many processes, and in which precision."""

from __future__ import annotations

from typing import Any

import torch

from denoisplit.machine.distributed import Team
from denoisplit.network import VSE, ContextVSE


def strategy(model: VSE, who: Team) -> str:
    """One process alone, or one per device; a network with context has parts without a gradient."""
    if who.size == 1:
        return "auto"
    return "ddp_find_unused_parameters_true" if isinstance(model, ContextVSE) else "ddp"


def precision(setting: str) -> Any:
    """Mixed precision where the machine has it; likelihood and KL stay in float32."""
    if setting == "auto":
        if not torch.cuda.is_available():
            setting = "32"
        else:
            setting = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[setting]
