"""Training by several processes: the same crops and noise, whoever has them; one writer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from denoisplit.config.settings import settings_from
from denoisplit.data.patches import EpochSampler
from denoisplit.data.prepare import prepare
from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.images import write_ome_tiff
from denoisplit.machine.distributed import Team, team
from denoisplit.network.vse import VSE
from denoisplit.noise_models.build import fit_available_noise_models
from denoisplit.run import build_network, load
from denoisplit.training.one_network import initial_network
from denoisplit.training.schedule import schedule
from denoisplit.training.task import SplittingTask

TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "patch": 32, "dropout": 0.0},
    "training": {"max_steps": 4, "batch": 4, "min_steps_per_epoch": 2},
    "noise_model_fit": {"steps": 20, "components": 1},
    "prediction": {"calibration_samples": 2, "error_map": False},
    "synthetic_poisson": 2.0,
    "synthetic_gaussian": 1.0,
}


@pytest.mark.parametrize(("share", "size"), [(4, 1), (2, 2), (1, 4)])
def test_together_the_processes_take_the_batches_of_one(share: int, size: int) -> None:
    per_epoch = 12
    samplers = [EpochSampler(per_epoch, share=share, rank=r, size=size) for r in range(size)]
    for sampler in samplers:
        sampler.set_epoch(3)
        assert len(list(sampler)) == len(sampler) == per_epoch // size
    numbers = [list(sampler) for sampler in samplers]
    for batch in range(3):
        taken = [n for own in numbers for n in own[batch * share : (batch + 1) * share]]
        assert taken == list(range(36 + 4 * batch, 40 + 4 * batch))


def test_gradients_of_the_shares_are_those_of_the_batch() -> None:
    """With BatchNorm held still, which sees its own share only: eps is that of each crop."""
    frames = [simulate(kind, frames=4, size=64, seed=1) for kind in ("mesh", "filaments")]
    groups = {k: v for k, v in TINY.items() if isinstance(v, dict)}
    settings = settings_from({
        "structures": [{"name": name, "files": ["unused"]} for name in "AB"], **groups,
        "data": {"synthetic_poisson": 2.0, "synthetic_gaussian": 1.0},
    })  # fmt: skip
    data = prepare(frames, settings)
    models = [fitted.model for fitted in fit_available_noise_models(settings, data, {}).values()]
    batch = torch.from_numpy(
        np.stack([np.stack([f[0][y : y + 32, :32] for f in frames]) for y in (0, 8, 16, 24)])
    ).float()

    def gradient(who: Team, crops: torch.Tensor) -> torch.Tensor:
        model = initial_network(settings, data)
        task = SplittingTask(
            model, models, data.superposition, settings, schedule(settings, 8), who
        )
        task.train()
        for module in task.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        torch.manual_seed(3)
        task.loss(crops).total.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    expected = gradient(Team(), batch)
    shares = [gradient(Team(rank, 2), batch[2 * rank : 2 * rank + 2]) for rank in range(2)]
    torch.testing.assert_close((shares[0] + shares[1]) / 2, expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(shares[0], shares[1], rtol=1e-2)


def test_who_this_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert team() == Team(0, 1, 1) and team().leads
    environment = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "3"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert team() == Team(3, 8, 2) and team().devices == 4
    environment = {
        "TORCHELASTIC_RUN_ID": "x",
        "RANK": "1",
        "WORLD_SIZE": "6",
        "LOCAL_WORLD_SIZE": "2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert team() == Team(1, 6, 3) and not team().leads
    with pytest.raises(InputError, match="a multiple of 6"):
        team().share(8)


CHAIN = {
    "system": "hdn_musplit",
    "network": TINY["network"] | {"levels": 2, "planes": 3},
    "denoiser": {
        "samples": 2,
        "network": TINY["network"] | {"levels": 2, "blocks_per_level": 1, "final_blocks": 1},
        "training": {"batch": 4},
    },
}
AVERAGED = {"training": TINY["training"] | {"weight_averaging": 0.5}}


@pytest.mark.parametrize(
    ("groups", "networks"),
    [(AVERAGED, ["."]), (CHAIN, [".", *(f"denoisers/{name}" for name in ("A", "B", "mixed"))])],
    ids=["denoisplit", "hdn_musplit"],
)
def test_two_processes_make_one_run(
    groups: dict[str, Any], networks: list[str], tmp_path: Path
) -> None:
    """Of torchrun, over gloo; nearly that of one process, as BatchNorm sees half of a batch."""
    options = structures(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY | groups))
    options += ["--config", str(tmp_path / "tiny.yaml"), "-o"]
    train = ["-m", "denoisplit", "train", *options]
    started([sys.executable, *train, str(tmp_path / "one")])
    started([*TWO, *train, str(tmp_path / "two")])
    one, two = (tmp_path / run for run in ("one", "two"))
    written = [{p.relative_to(run).as_posix() for p in run.rglob("*")} for run in (one, two)]
    assert written[0] == written[1]
    for network in networks:
        lines = [(run / network / "history.csv").read_text().splitlines() for run in (one, two)]
        steps = [[line.split(",")[:2] for line in history] for history in lines]
        assert steps[0] == steps[1] and len(steps[0]) > 1
        alone, both = (load(run / network, device="cpu") for run in (one, two))
        moved = weights(alone.model) - at_start(alone.config.settings)
        apart = weights(alone.model) - weights(both.model)
        assert apart.norm() < 0.5 * moved.norm()


def test_a_batch_that_cannot_be_shared_is_refused_at_once(tmp_path: Path) -> None:
    """Also that of the splitter, which would be trained hours later."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(
        TINY | CHAIN | {"training": TINY["training"] | {"batch": 3}}
    ))  # fmt: skip
    run = tmp_path / "run"
    options = [*structures(tmp_path), "--config", str(tmp_path / "tiny.yaml"), "-o", str(run)]
    output = started([*TWO, "-m", "denoisplit", "train", *options], code=1)
    problem = "training.batch: a batch of 3 crops cannot be shared by 2 processes"
    assert problem in output
    assert not run.exists()


TWO = [
    sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
]  # fmt: skip


def structures(folder: Path) -> list[str]:
    """Images of A and B, written, as options."""
    options = []
    for name, kind in (("A", "mesh"), ("B", "filaments")):
        frames = np.float32(simulate(kind, frames=4, size=64, seed=1))
        write_ome_tiff(folder / f"{name}.tif", xr.DataArray(frames, dims=["t", "y", "x"]))
        options += ["--structure", name, str(folder / f"{name}.tif")]
    return options


def started(command: list[str], *, code: int = 0) -> str:
    """Output of the command."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr[-3000:]
    return done.stderr


def weights(model: VSE) -> torch.Tensor:
    """Those that the run has trained: a denoiser before it is another run."""
    named = model.named_parameters()
    return torch.cat([p.detach().flatten() for name, p in named if "denoiser." not in name])


def at_start(settings: Any) -> torch.Tensor:
    """The weights before the first step."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return weights(build_network(settings))
