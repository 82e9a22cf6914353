"""The Lightning module of a training: loss of a batch, learning rate, skipped steps."""

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
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.training.checkpoints import relocate_state
from denoisplit.training.monitors import TargetPsnr, estimated_risk
from denoisplit.training.muon import Muon
from denoisplit.training.objective import (
    Loss,
    combine,
    data_term,
    gaussian_nll,
    mean_loss,
    noise_model_nll,
)
from denoisplit.training.schedule import Schedule, step_seed

MAX_SKIPPED_IN_A_ROW = 20
TRAINING, VALIDATION, MOMENTS = 1, 2, 3  # uses of randomness, see `step_seed`


def divergence(problem: str) -> InputError:
    """Return the error that ends a training whose loss is not finite."""
    return InputError(
        f"the training diverged: {problem}",
        remedy="check the images for extreme values, or set a lower training.learning_rate",
    )


class SplittingTask(L.LightningModule):
    """Network, objective and schedule of one training.

    Batches are raw targets (B, C, P, P) or, with context, (B, C, n, P, P). Without a superposition
    the input is part of the batch, as the last of C + 1 images.
    """

    def __init__(
        self,
        model: VSE,
        noise_models: Sequence[GaussianMixture],
        superposition: Superposition | None,
        settings: Settings,
        schedule: Schedule,
        ranks: Team = Team(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__()
        self.model = model
        self.noise_models = torch.nn.ModuleList(noise_models)
        self.superposition = superposition
        self.settings = settings
        self.schedule = schedule
        self.ranks = ranks
        self.skipped_steps = 0
        self._skipped_in_a_row = 0
        self._buffers_before: list[Tensor] = []  # running moments of BatchNorm before the step
        self.psnr = TargetPsnr()
        training = settings.training
        optimisers = {"adamax": torch.optim.Adamax, "muon": Muon}
        self.optimiser: torch.optim.Optimizer = optimisers[training.optimiser](
            model.parameters(), lr=training.learning_rate
        )
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser,
            mode=self.mode,
            factor=0.5,
            patience=training.plateau_patience,
            min_lr=1e-12,
        )

    @property
    def monitor(self) -> str:
        """Name of the monitored value."""
        return f"val_{self.settings.objective.monitor}"

    @property
    def mode(self) -> Literal["min", "max"]:
        """Whether less or more is better in the monitored value."""
        return "max" if self.settings.objective.monitor == "psnr" else "min"

    # ---------------------------------------------------------------- loss

    def loss(self, batch: Tensor) -> Loss:
        """Return the objective of a batch; eps is drawn from the global generator."""
        model = self.model
        raw, targets = self.pairs(batch)
        # every rank draws eps for the whole batch and takes its share, so that a crop has the same
        # eps whatever the number of ranks
        n, ranks = len(targets), self.ranks if self.training else Team()
        eps = [
            torch.randn(ranks.size * n, *shape, device=targets.device)[ranks.rank * n :][:n]
            for shape in model.latent_shapes(*targets.shape[-2:])
        ]
        size = (model.training and self.settings.training.virtual_batch) or n
        passes = zip(
            raw.split(size), targets.split(size), *(e.split(size) for e in eps), strict=True
        )
        return mean_loss([self._loss_of_pass(*one) for one in passes], [*map(len, raw.split(size))])

    def pairs(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the raw input planes (B, n, P, P) and the raw targets (B, C, P, P) of a batch.

        With context, all planes are superposed, and the first one of each structure is the target.
        """
        if self.superposition is None:
            raw, targets = batch[:, -1], batch[:, :-1]
        else:
            raw, targets = batch.sum(dim=1), batch
            raw = raw * self.superposition.scale + self.superposition.shift
        return (raw, targets[:, :, 0]) if batch.ndim == 5 else (raw[:, None], targets)

    def _loss_of_pass(self, raw: Tensor, targets: Tensor, *eps: Tensor) -> Loss:
        """Return the objective of crops that pass through the network together."""
        model, objective = self.model, self.settings.objective
        output, latents = model(model.normalise(raw), eps)
        means = model.means(output)
        with torch.autocast(targets.device.type, enabled=False):
            if not model.training:
                self.psnr.add(model.normalise_targets(targets), means)
            if SYSTEMS[self.settings.system].data_term == "gaussian":
                log_variance = output[:, model.structures :]
                nll = gaussian_nll(model.normalise_targets(targets), means, log_variance)
            else:
                models: list[GaussianMixture] = list(self.noise_models)  # type: ignore[arg-type]
                nll = noise_model_nll(targets, model.to_raw(means), models)
            return combine(
                data_term(nll, targets),
                latents,
                structures=model.structures,
                pixels=targets.shape[-2] * targets.shape[-1],
                beta=objective.beta * self._warm_up_factor(),
                kl_form=objective.kl_form,
                free_bits=objective.free_bits,
                closed_form=objective.closed_form,
            )

    def _warm_up_factor(self) -> float:
        """Return the factor on beta: it rises from 0 to 1 over the warm-up of a training."""
        steps = self.settings.objective.warm_up * self.schedule.steps
        if not (self.model.training and steps):
            return 1.0
        return min(1.0, self.trainer.global_step / steps)

    # ---------------------------------------------------------------- steps and epochs

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser alone: the task sets the learning rate, also after resuming."""
        return self.optimiser

    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
        """Seed the randomness of the step, dropout included, and set a cosine learning rate."""
        torch.manual_seed(step_seed(self.settings.seed, TRAINING, self.trainer.global_step))
        if self.settings.training.schedule == "cosine":
            share = self.trainer.global_step / self.schedule.steps
            rate = self.settings.training.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
            for group in self.optimiser.param_groups:
                group["lr"] = rate
        self._buffers_before = [buffer.clone() for buffer in self.model.buffers()]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss of one step; a finite one enters the means of the epoch."""
        loss = self.loss(batch)
        if torch.isfinite(loss.total):
            self._log_terms("train", loss, len(batch), on_step=False, on_epoch=True)
        return loss.total

    def on_validation_batch_start(
        self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Use the same noise in every epoch; otherwise the best epoch would be a lucky one."""
        torch.manual_seed(step_seed(self.settings.seed, VALIDATION, batch_idx))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Log the loss of one stochastic pass in evaluation mode, and the risk if it decides."""
        self._log_terms("val", self.loss(batch), len(batch))
        if self.settings.objective.monitor == "risk":
            self._log("val_risk", self.risk(batch), len(batch))

    def risk(self, batch: Tensor) -> Tensor:
        """Estimate the squared error of decoded means in units of the structures' variances, ()."""
        model, superposition = self.model, self.superposition
        raw, targets = self.pairs(batch)

        def decoded(raw: Tensor) -> Tensor:
            return model.decoded_means(model.encode(model.normalise(raw)), raw[:, :1])

        models: list[GaussianMixture] = list(self.noise_models)  # type: ignore[arg-type]
        scale = 1.0 if superposition is None else superposition.scale
        with torch.autocast(raw.device.type, enabled=False):  # small differences of predictions
            risk = estimated_risk(decoded, raw, targets, models, scale)
        return (risk / model.target_std**2).mean()

    def _log_terms(self, split: str, loss: Loss, size: int, **options: Any) -> None:
        for label, value in (("loss", loss.total), ("data", loss.data), ("kl", loss.kl)):
            self._log(f"{split}_{label}", value, size, **options)

    def _log(self, name: str, value: Tensor, size: int, **options: Any) -> None:
        several = self.ranks.size > 1
        self.log(name, value.detach(), batch_size=size, sync_dist=several, **options)

    def on_validation_epoch_end(self) -> None:
        """Log the PSNR of the whole epoch."""
        self.log("val_psnr", self.psnr.of_epoch())

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient by its norm; skip and count a step whose gradient is not finite."""
        clip = self.settings.training.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip or math.inf)
        if torch.isfinite(norm):
            self._skipped_in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(self.model.buffers(), self._buffers_before, strict=True):
            buffer.copy_(before)  # the moments of BatchNorm already include the bad batch
        self.skipped_steps += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row > MAX_SKIPPED_IN_A_ROW:
            raise divergence(f"{self._skipped_in_a_row} steps in a row had no finite gradient")

    def on_train_epoch_end(self) -> None:
        """Lower the learning rate on a plateau, before the checkpoint is written."""
        if self.settings.training.schedule == "plateau":
            self.plateau.step(self.trainer.callback_metrics[self.monitor].item())

    # ---------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add plain values only: a checkpoint is read without unpickling objects."""
        state = {k: v for k, v in self.plateau.state_dict().items() if not callable(v)}
        checkpoint["denoisplit"] = {"plateau": state, "skipped_steps": self.skipped_steps}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` has added."""
        for state in checkpoint["callbacks"].values():
            if "best_model_path" in state:
                relocate_state(state, self.trainer.default_root_dir)
        self.plateau.load_state_dict(checkpoint["denoisplit"]["plateau"])
        self.skipped_steps = checkpoint["denoisplit"]["skipped_steps"]
