"""Training by several processes: the same crops and noise, whoever has them; one writer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from denoisplit.commands.train import train
from denoisplit.config.settings import settings_from
from denoisplit.data.patches import EpochSampler
from denoisplit.data.prepare import prepare
from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.files.folder_lock import output_lock
from denoisplit.images import write_ome_tiff
from denoisplit.machine import distributed
from denoisplit.machine.distributed import (
    LAUNCHERS,
    READY,
    Leader,
    Team,
    reason_to_be_alone,
    team,
)
from denoisplit.network.vse import VSE
from denoisplit.noise_models.build import fit_available_noise_models
from denoisplit.run import Run, build_network, load
from denoisplit.training.one_network import initial_network
from denoisplit.training.schedule import schedule
from denoisplit.training.task import SplittingTask

TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32, "dropout": 0.0},
    "training": {"max_steps": 4, "batch": 4, "min_steps_per_epoch": 2},
    "noise_model_fit": {"steps": 20, "components": 1},
    "prediction": {"calibration_samples": 2, "error_map": False},
    "synthetic_poisson": 2.0,
    "synthetic_gaussian": 1.0,
}
AVERAGED = {"training": TINY["training"] | {"weight_averaging": 0.5}}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Run]:
    """Images, and a run that one process has trained."""
    folder = tmp_path_factory.mktemp("alone")
    images = structures(folder)
    return images, train(images, folder / "one", **TINY | AVERAGED)


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


TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "RANK": "1",
    "WORLD_SIZE": "6",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29400",
}
SRUN = {
    "SLURM_JOB_ID": "10077",
    "SLURM_STEP_ID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "3",
    "SLURM_NTASKS": "8",
    "SLURM_JOB_NAME": "training",
}
BATCH = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Set the variables of launchers, and no others."""

    def set_only(values: dict[str, str]) -> None:
        for name in [name for name in os.environ if LAUNCHERS.fullmatch(name)]:
            monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    set_only({})
    return set_only


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (TORCHRUN, Team(1, 6, 3, 1, "node1", 29400)),
        (TORCHRUN | {"RANK": "0", "WORLD_SIZE": "2"}, Team(0, 2, 1, 1, "node1", 29400)),
        (TORCHRUN | SRUN, Team(1, 6, 3, 1, "node1", 29400)),  # torchrun inside of a step
        (SRUN, Team(3, 8, 2, 3, "gpu07", 15000 + 78)),
        (SRUN | {"RANK": "no number"}, Team(3, 8, 2, 3, "gpu07", 15000 + 78)),
        # of one machine, whose variables are not all set
        (BATCH | {"SLURM_STEP_ID": "0", "SLURM_PROCID": "2"}, Team(2, 4, 1, 0, "127.0.0.1", 15077)),
    ],
)  # fmt: skip
def test_processes_that_a_launcher_has_started(
    environment: Callable[..., None], values: dict[str, str], expected: Team
) -> None:
    environment(values)
    assert team() == expected and team().leads == (expected.rank == 0)
    assert reason_to_be_alone() == ""


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, ""),
        (BATCH, "4 tasks"),
        (BATCH | {"SLURM_STEP_ID": str(0xFFFFFFFB)}, "4 tasks"),
        (SRUN | {"SLURM_JOB_NAME": "bash"}, "8 tasks"),
        (SRUN | {"SLURM_JOB_NAME": "interactive"}, "8 tasks"),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1"}, ""),
        (SRUN | {"SLURM_PROCID": "8"}, "8 tasks"),
        (SRUN | {"SLURM_PROCID": "three"}, "8 tasks"),
        (SRUN | {"SLURM_STEP_ID": ""}, "8 tasks"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "WORLD_SIZE"),
        ({name: v for name, v in TORCHRUN.items() if name != "TORCHELASTIC_RUN_ID"}, "WORLD_SIZE"),
        *(({k: v for k, v in TORCHRUN.items() if k != name}, "") for name in ("WORLD_SIZE",)),
        *(
            ({k: v for k, v in TORCHRUN.items() if k != name}, "WORLD_SIZE")
            for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        ),
        (TORCHRUN | {"RANK": "6"}, "WORLD_SIZE"),
        (TORCHRUN | {"RANK": "-1"}, "WORLD_SIZE"),
        (TORCHRUN | {"RANK": "1" * 5000}, "WORLD_SIZE"),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "0"}, "WORLD_SIZE"),
        (TORCHRUN | {"WORLD_SIZE": "many"}, ""),
    ],
)  # fmt: skip
def test_a_process_is_alone_unless_all_variables_agree(
    environment: Callable[..., None], values: dict[str, str], reason: str
) -> None:
    environment(values)
    assert team() == Team() and team().leads
    assert reason in reason_to_be_alone() and bool(reason) == bool(reason_to_be_alone())


def test_machines_with_different_numbers_of_processes(environment: Callable[..., None]) -> None:
    environment(SRUN | {"SLURM_STEP_NUM_NODES": "3"})
    with pytest.raises(InputError, match="8 processes on 3 machines"):
        team()


def test_imports_draw_no_random_numbers_and_pass_no_stray_variables_to_lightning() -> None:
    """Lightning fails when it is imported, on a rank that is no number."""
    code = (
        "import os, random, denoisplit\n"
        "before = random.getstate()\n"
        "denoisplit.train\n"
        "assert random.getstate() == before\n"
        "import denoisplit.training.precision, denoisplit.evaluation.metrics as metrics\n"
        "from lightning.pytorch.utilities import rank_zero_only\n"
        "import numpy as np\n"
        "metrics.ms_ssim(np.eye(200), np.eye(200), data_range=1.0)\n"
        "print(rank_zero_only.rank, os.environ['RANK'], os.environ['SLURM_PROCID'])\n"
    )
    stray = {"RANK": "abc", "LOCAL_RANK": "x", "SLURM_PROCID": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | stray, capture_output=True, text=True
    )
    assert done.stdout.split() == ["0", "abc", "2"], done.stderr


def test_a_training_in_a_batch_script_is_one_process(
    alone: tuple[dict[str, Path], Run],
    environment: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same, whatever the launcher has set; and the environment stays as it is."""
    images, expected = alone
    environment(BATCH | {"RANK": "3", "WORLD_SIZE": "4", "PL_TRAINER_FAST_DEV_RUN": "1"})
    before = dict(os.environ)
    with caplog.at_level("WARNING", logger="denoisplit"):
        run = train(images, tmp_path / "run", **TINY | AVERAGED)
    assert dict(os.environ) == before
    assert torch.equal(weights(run.model), weights(expected.model))
    assert "training in one process" in caplog.text


def test_a_batch_that_cannot_be_shared_is_refused_at_once(
    environment: Callable[..., None], tmp_path: Path
) -> None:
    """Also that of the splitter, which would be trained hours later."""
    images = structures(tmp_path)
    environment(TORCHRUN | {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"})
    with pytest.raises(InputError, match="a batch of 3 crops cannot be shared by 2 processes"):
        train(images, tmp_path / "run", **TINY | CHAIN | {"training": {"batch": 3}})
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="a multiple of 2"):
        team().share(3)


def test_other_ranks_end_with_rank_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "START_TIME", 0.1)
    monkeypatch.setattr(distributed, "POLL_INTERVAL", 0.01)
    run, file = tmp_path / "run", tmp_path / "file"
    leader = Leader(run, "node1:29400")
    with pytest.raises(InputError, match="has not started"):
        leader.wait_until_ready()
    with output_lock(run) as held:
        held.say("node2:29400")  # of another training
        held.say(READY)
        with pytest.raises(InputError, match="has not started"):
            leader.wait_until_ready()
    with output_lock(run) as held:
        held.say(leader.name)
        held.say(READY)
        leader.wait_until_ready()
        file.write_text("written")
        leader.wait_for([file])
    leader.wait_for([file])
    with pytest.raises(InputError, match="has ended"):
        leader.wait_for([file, tmp_path / "missing"])


CHAIN = {
    "system": "hdn_musplit",
    "network": TINY["network"] | {"planes": 3},
    "denoiser": {
        "samples": 2,
        "network": TINY["network"] | {"blocks_per_level": 1, "final_blocks": 1},
        "training": {"batch": 4},
    },
}


@pytest.mark.parametrize(
    ("groups", "networks"),
    [
        (AVERAGED, ["."]),
        pytest.param(
            CHAIN,
            [".", *(f"denoisers/{name}" for name in ("A", "B", "mixed"))],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["denoisplit", "hdn_musplit"],
)
def test_two_processes_make_one_run(
    groups: dict[str, Any],
    networks: list[str],
    alone: tuple[dict[str, Path], Run],
    programs: Path,
    tmp_path: Path,
) -> None:
    """Of torchrun, over gloo; nearly that of one process, as BatchNorm sees half of a batch."""
    images, first = alone
    if groups is not AVERAGED:
        first = train(images, tmp_path / "one", **TINY | groups)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY | groups))
    options = ["--config", str(tmp_path / "tiny.yaml"), "-o", str(tmp_path / "two")]
    for name, files in images.items():
        options += ["--structure", name, str(files)]
    words = ["--standalone", "--nproc-per-node", "2", "--no-python"]
    words += [str(programs / "denoisplit"), "train", *options]
    # torchrun and both trainings are children of a process that has imported everything
    launched = [programs / "python", "-c", f"from torch.distributed.run import main; main({words})"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(launched, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = first.path, tmp_path / "two"
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


def structures(folder: Path) -> dict[str, Path]:
    """Images of A and B, written."""
    files = {name: folder / f"{name}.tif" for name in "AB"}
    for path, kind in zip(files.values(), ("mesh", "filaments"), strict=True):
        frames = np.float32(simulate(kind, frames=4, size=64, seed=1))
        write_ome_tiff(path, xr.DataArray(frames, dims=["t", "y", "x"]))
    return files


def weights(model: VSE) -> torch.Tensor:
    """Those that the run has trained: a denoiser before it is another run."""
    named = model.named_parameters()
    return torch.cat([p.detach().flatten() for name, p in named if "denoiser." not in name])


def at_start(settings: Any) -> torch.Tensor:
    """The weights before the first step."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return weights(build_network(settings))
