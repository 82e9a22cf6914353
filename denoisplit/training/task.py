"""The training loop: a thin Lightning wrapper around network and objective, and ``fit``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from denoisplit.config.settings import Settings
from denoisplit.config.systems import SYSTEMS
from denoisplit.data.superposition import Superposition
from denoisplit.errors import InputError
from denoisplit.machine.distributed import Team
from denoisplit.network import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.training.checkpoints import move_state
from denoisplit.training.objective import (
    Loss,
    combine,
    data_term,
    gaussian_nll,
    mean_loss,
    noise_model_nll,
)
from denoisplit.training.schedule import Schedule, step_seed
from denoisplit.training.target_psnr import TargetPsnr

MAX_SKIPPED_IN_A_ROW = 20
TRAINING, VALIDATION = 1, 2  # uses of randomness


class SplittingTask(L.LightningModule):
    """Network, data term and schedule of one training; batches are raw targets (B, C, P, P).

    Without a superposition the input comes with them, as the last of C + 1 images.
    """

    def __init__(
        self,
        model: VSE,
        noise_models: Sequence[GaussianMixture],
        superposition: Superposition | None,
        settings: Settings,
        plan: Schedule,
        who: Team = Team(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__()
        self.who = who
        self.model = model
        self.noise_models = torch.nn.ModuleList(noise_models)
        self.superposition = superposition
        self.settings = settings
        self.plan = plan
        self.skipped_steps = 0
        self._skipped_in_a_row = 0
        self._moments: list[Tensor] = []
        self.psnr = TargetPsnr()
        training = settings.training
        self.optimiser = torch.optim.Adamax(model.parameters(), lr=training.learning_rate)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser,
            mode=self.better,
            factor=0.5,
            patience=training.plateau_patience,
            min_lr=1e-12,
        )

    @property
    def monitor(self) -> str:
        """Name of the monitored value."""
        return f"val_{self.settings.objective.monitor}"

    @property
    def better(self) -> Literal["min", "max"]:
        """Which end of the monitored values is the better one."""
        return "max" if self.settings.objective.monitor == "psnr" else "min"

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The learning rate is set by the task itself, so that a resumed run has the same."""
        return self.optimiser

    def loss(self, targets: Tensor) -> Loss:
        """The objective of raw noisy targets (B, C, P, P); draws eps from the global generator.

        With context they are (B, C, n, P, P): all planes are superposed, the first is the target.
        """
        model = self.model
        raw, targets = self.pairs(targets)
        # every process draws for the whole batch and takes its own: eps of a crop is that of one
        n, who = len(targets), self.who if self.training else Team()
        eps = [
            torch.randn(who.size * n, *shape, device=targets.device)[who.rank * n :][:n]
            for shape in model.latent_shapes(*targets.shape[-2:])
        ]
        size = (model.training and self.settings.training.virtual_batch) or n
        parts = zip(
            raw.split(size), targets.split(size), *(e.split(size) for e in eps), strict=True
        )
        return mean_loss([self._of_pass(*part) for part in parts], [*map(len, raw.split(size))])

    def _of_pass(self, raw: Tensor, targets: Tensor, *eps: Tensor) -> Loss:
        """The objective of what passes the network together."""
        model, objective = self.model, self.settings.objective
        output, latents = model(model.normalise(raw), eps)
        means = model.means(output)
        with torch.autocast(targets.device.type, enabled=False):
            if not model.training:
                self.psnr.add(model.normalise_targets(targets), means)
            if not SYSTEMS[self.settings.system].noise_models:
                log_variance = output[:, model.structures :]
                nll = gaussian_nll(model.normalise_targets(targets), means, log_variance)
            else:
                nll = noise_model_nll(targets, model.to_raw(means), self._densities())
            return combine(
                data_term(nll, targets),
                latents,
                structures=model.structures,
                pixels=targets.shape[-2] * targets.shape[-1],
                beta=objective.beta * self._warmth(),
                kl_form=objective.kl_form,
                free_bits=objective.free_bits,
                closed_form=objective.closed_form,
            )

    def pairs(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Raw input planes (B, n, P, P) and raw targets (B, C, P, P) of a batch."""
        if self.superposition is None:
            raw, targets = batch[:, -1], batch[:, :-1]
        else:
            raw, targets = batch.sum(dim=1), batch
            raw = raw * self.superposition.scale + self.superposition.shift
        return (raw, targets[:, :, 0]) if batch.ndim == 5 else (raw[:, None], targets)

    def _warmth(self) -> float:
        """Share of beta that counts: from 0 up, over the first steps of a training with warm-up."""
        steps = self.settings.objective.warm_up * self.plan.steps
        if not (self.model.training and steps):
            return 1.0
        return min(1.0, self.trainer.global_step / steps)

    def _densities(self) -> list[GaussianMixture]:
        return list(self.noise_models)  # type: ignore[arg-type]

    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
        """Address the step's randomness, dropout included, and set a scheduled learning rate."""
        torch.manual_seed(step_seed(self.settings.seed, TRAINING, self.trainer.global_step))
        if self.settings.training.schedule == "cosine":
            start = self.settings.training.cosine_from
            share = max(0.0, (self.trainer.global_step / self.plan.steps - start) / (1 - start))
            rate = self.settings.training.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
            for group in self.optimiser.param_groups:
                group["lr"] = rate
        self._moments = [buffer.clone() for buffer in self.model.buffers()]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """One step."""
        loss = self.loss(batch)
        if torch.isfinite(loss.total):
            for name in ("total", "data", "kl"):
                label = "loss" if name == "total" else name
                value = getattr(loss, name).detach()
                self.log(
                    f"train_{label}",
                    value,
                    on_step=False,
                    on_epoch=True,
                    batch_size=len(batch),
                    sync_dist=self.who.size > 1,
                )
        return loss.total

    def on_validation_batch_start(
        self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Every epoch is validated with the same noise, or the best epoch would be the luckiest."""
        torch.manual_seed(step_seed(self.settings.seed, VALIDATION, batch_idx))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """One stochastic pass in evaluation mode."""
        loss = self.loss(batch)
        for label, value in (("loss", loss.total), ("data", loss.data), ("kl", loss.kl)):
            self.log(f"val_{label}", value, batch_size=len(batch), sync_dist=self.who.size > 1)

    def on_validation_epoch_end(self) -> None:
        """PSNR of the whole epoch."""
        self.log("val_psnr", self.psnr.of_epoch())

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm; a step without a finite gradient is left out, counted and reported."""
        clip = self.settings.training.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip or math.inf)
        if torch.isfinite(norm):
            self._skipped_in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(self.model.buffers(), self._moments, strict=True):
            buffer.copy_(before)  # the running moments of BatchNorm took the bad batch in
        self.skipped_steps += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row > MAX_SKIPPED_IN_A_ROW:
            raise InputError(
                where="training",
                found=f"{self._skipped_in_a_row} steps in a row without a finite gradient",
                expected="a loss that can be minimised",
                remedy="check the images for extreme values, or set a lower training.learning_rate",
            )

    def on_train_epoch_end(self) -> None:
        """The plateau schedule, before the checkpoint is written."""
        if self.settings.training.schedule == "plateau":
            self.plateau.step(self.trainer.callback_metrics[self.monitor].item())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Plain values only: a checkpoint is read without unpickling objects."""
        state = {k: v for k, v in self.plateau.state_dict().items() if not callable(v)}
        checkpoint["denoisplit"] = {"plateau": state, "skipped_steps": self.skipped_steps}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The counterpart of `on_save_checkpoint`."""
        for state in checkpoint["callbacks"].values():
            if "best_model_path" in state:
                move_state(state, self.trainer.default_root_dir)
        self.plateau.load_state_dict(checkpoint["denoisplit"]["plateau"])
        self.skipped_steps = checkpoint["denoisplit"]["skipped_steps"]
