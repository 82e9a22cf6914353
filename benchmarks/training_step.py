"""Time of one training step and of the noise model's likelihood: CAREamics and denoisplit.

    python benchmarks/training_step.py [--preset paper] [--batch 4] [--rounds 5]

Forward, loss, backward and Adamax on the same raw targets with a noise model of three Gaussians and
four coefficients per structure.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import torch
from common import machine, peer, peer_likelihood, peer_loss, side_by_side, table

from denoisplit.config.settings import settings_from
from denoisplit.data.superposition import Superposition
from denoisplit.machine.memory import keep_freed_memory
from denoisplit.network.inference import compile_blocks
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.training.schedule import Schedule
from denoisplit.training.task import SplittingTask

SIZES: dict[str, dict[str, int]] = {
    "paper": {}, "small": {"filters": 32, "latents": 8, "patch": 64},
}  # fmt: skip


def noise_model(seed: int) -> GaussianMixture:
    """Return a mixture of three Gaussians for signals of 0 to 1000."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(9, 4, generator=generator)
    weight[3:6] += 6
    return GaussianMixture(weight.numpy(), 0.0, 1000.0, 50.0)


def new_task(model: VSE, models: list[GaussianMixture], *, compiled: bool = False) -> Any:
    """Return a training of a copy of a network of two structures, on its device."""
    settings = settings_from({"structures": [{"name": n, "files": ["-"]} for n in "AB"]})
    network = copy.deepcopy(model).to(memory_format=torch.channels_last).train()
    if compiled:
        compile_blocks(network)
    superposition = Superposition("sum", (0.0, 0.0))
    return SplittingTask(network, models, superposition, settings, Schedule(1, 1))


def step(task: Any, targets: torch.Tensor, precision: str) -> None:
    """Train for one step on raw targets (B, C, P, P)."""
    bf16 = precision == "bf16"
    with torch.autocast(targets.device.type, torch.bfloat16, enabled=bf16):
        loss = task.loss(targets)
    task.optimiser.zero_grad()
    loss.total.backward()
    torch.nn.utils.clip_grad_norm_(task.model.parameters(), 0.5)
    task.optimiser.step()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=tuple(SIZES), default="paper")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="1: processor time")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    sizes = SIZES[given.preset]
    patch = sizes.get("patch", 128)
    torch.manual_seed(0)
    models = [noise_model(k) for k in range(2)]
    targets = 400 + 150 * torch.randn(given.batch, 2, patch, patch)

    stats = torch.tensor([400.0, 400.0]), torch.tensor([150.0, 150.0])
    theirs = peer_likelihood(models, *stats)
    means = torch.randn(given.batch, 2, patch, patch, requires_grad=True)
    normalised = (targets - 400) / 150

    def their_nll() -> None:
        (-theirs.log_likelihood(normalised, {"mean": means}).mean()).backward()

    def our_nll() -> None:
        raw = means * 150 + 400
        sum(-m.log_prob(targets[:, k], raw[:, k]).mean() for k, m in enumerate(models)).backward()

    likelihood = side_by_side({"CAREamics": their_nll, "ours": our_nll}, 2 * given.rounds)

    network = peer(patch, filters=sizes.get("filters", 64), latents=sizes.get("latents", 128))
    network.train()
    optimiser = torch.optim.Adamax(network.parameters(), lr=1e-4)
    their_loss = peer_loss(peer_likelihood(models, *stats))

    def their_step() -> None:
        x = (targets.sum(1, keepdim=True) - 800) / 212
        loss = their_loss(network(x), normalised)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimiser.step()

    model = VSE(2, **sizes)
    for name, value in (("input_mean", 800.0), ("input_std", 212.0), ("target_mean", 400.0),
                        ("target_std", 150.0)):  # fmt: skip
        getattr(model, name).fill_(value)

    def ours(precision: str, compiled: bool) -> Any:
        task = new_task(model, models, compiled=compiled)
        return lambda: step(task, targets, precision)

    times = side_by_side({"CAREamics": their_step}, given.rounds)
    keep_freed_memory()
    times |= side_by_side(
        {
            f"ours, {precision}{', compiled' if compiled else ''}": ours(precision, compiled)
            for compiled in (False, True)
            for precision in ("32", "bf16")
        }
        | {"CAREamics, memory kept": their_step},
        given.rounds,
    )
    print(f"{machine()}\n\nnetwork of `{given.preset}`, {given.batch} patches of {patch} px\n")
    for title, values in (("training step", times), ("likelihood, forward and backward",
                                                     likelihood)):  # fmt: skip
        rows = [[n, f"{v:.3f}", f"{values['CAREamics'] / v:.2f}"] for n, v in values.items()]
        print(table([title, "s", "times CAREamics"], rows))


if __name__ == "__main__":
    main()
