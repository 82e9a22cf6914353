"""Processes and precision of a training, as Lightning names them."""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from denoisplit.errors import InputError
from denoisplit.machine.distributed import Team
from denoisplit.network.vse import VSE


def strategy(model: VSE, ranks: Team) -> str:
    """Return the strategy for one process, or for one process per device."""
    if ranks.size == 1:
        return "auto"
    return "ddp_find_unused_parameters_true" if model.has_unused_parameters else "ddp"


class TeamEnvironment(LightningEnvironment):
    """The processes of a training, for Lightning, which would otherwise look for them by itself."""

    def __init__(self, ranks: Team) -> None:
        super().__init__()
        self.ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        """Return that all processes have been started."""
        return True

    @property
    def main_address(self) -> str:
        """Return the host where the processes meet."""
        return self.ranks.address

    @property
    def main_port(self) -> int:
        """Return its port."""
        return self.ranks.port

    def world_size(self) -> int:
        """Return the number of processes."""
        return self.ranks.size

    def global_rank(self) -> int:
        """Return the rank of this process."""
        return self.ranks.rank

    def local_rank(self) -> int:
        """Return its rank on its machine."""
        return self.ranks.local_rank

    def node_rank(self) -> int:
        """Return the number of its machine."""
        return self.ranks.rank // self.ranks.devices

    def teardown(self) -> None:
        """Leave the environment of the process as it is."""


def check_devices(ranks: Team) -> None:
    """Refuse more processes than GPUs on a machine that has GPUs.

    Raises
    ------
    InputError
    """
    gpus = torch.cuda.device_count()
    if torch.cuda.is_available() and ranks.size > 1 and ranks.devices > gpus:
        raise InputError(
            f"{ranks.devices} processes of this machine share {gpus} visible GPUs",
            where="training",
            remedy="start one per GPU; with srun, set --gpus-per-node, not --gpus-per-task",
        )


def precision(setting: str) -> Any:
    """Return the precision; "auto" is mixed precision on GPUs. Likelihood and KL stay float32."""
    if setting == "auto":
        if not torch.cuda.is_available():
            setting = "32"
        else:
            setting = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[setting]
