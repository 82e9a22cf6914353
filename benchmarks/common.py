"""Shared by the benchmarks: description of the machine, times side by side, the peer's network."""

from __future__ import annotations

import importlib.util
import os
import platform
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def machine() -> str:
    """Return processor, threads and versions in one line."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    flags = ""
    if info.is_file():
        lines = dict(
            map(str.strip, line.split(":", 1))
            for line in info.read_text().splitlines()
            if ":" in line
        )
        name = lines.get("model name", name)
        have = set(lines.get("flags", "").split())
        flags = ", ".join(f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in have)
    gpu = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{name} ({flags}), {torch.get_num_threads()} threads{load}{gpu}; Python "
        f"{platform.python_version()}, torch {torch.__version__}, "
        f"careamics {version('careamics')}, onnxruntime {version('onnxruntime')}"
    )


def side_by_side(
    works: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: str = "cpu",
    of: Callable[[list[float]], float] = statistics.median,
) -> dict[str, float]:
    """Return the median time of each, s, measured in turn in every round after a warm-up round.

    ``of`` is what is returned of the times in all rounds, if not their median.

    Other load on the machine thus affects all of them alike. With one thread, times are processor
    times, which other programs hardly change. GPU work is synchronised.
    """
    gpu = torch.device(device).type == "cuda"
    one = torch.get_num_threads() == 1 and not gpu
    clock = time.process_time if one else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = clock()
            work()
            if gpu:
                torch.cuda.synchronize(device)
            if number:
                taken[name].append(clock() - start)
                print(f"{name}: {taken[name][-1]:.3f} s", file=sys.stderr, flush=True)
    return {name: of(values) for name, values in taken.items()}


def operations(work: Callable[[], Any]) -> float:
    """Count the floating-point operations of the convolutions and matrix products of one call."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def best_rate(dtype: torch.dtype, device: str = "cpu", rounds: int = 3) -> float:
    """Measure the highest rate of arithmetic on this machine, floating-point operations per second.

    It is that of a product of large matrices or a convolution of many channels, whichever is
    higher.
    """
    gpu = torch.device(device).type == "cuda"
    side, channels, pixels = (8192, 512, 256) if gpu else (2048, 256, 128)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    x = torch.randn(1, channels, pixels, pixels, device=device)
    x = x.to(dtype, memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False, device=device)
    conv = conv.to(dtype, memory_format=torch.channels_last)
    works = {f"matrices, {dtype}": lambda: a @ b, f"convolution, {dtype}": lambda: conv(x)}
    count = [2.0 * side**3, 2.0 * channels**2 * 9 * pixels**2]
    seconds = side_by_side(works, rounds, device).values()
    return max(n / s for n, s in zip(count, seconds, strict=True))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


@cache
def careamics() -> Any:
    """Import CAREamics' LVAE, likelihood and losses without the other imports of its packages."""
    spec = importlib.util.find_spec("careamics")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("careamics is not installed; run `make env`")
    root = Path(spec.submodule_search_locations[0])
    for name in ("careamics", "careamics.models", "careamics.config", "careamics.losses",
                 "careamics.losses.lvae", "careamics.config.noise_model"):  # fmt: skip
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module
    utils = types.ModuleType("careamics.utils")
    utils.get_device = lambda: torch.device("cpu")  # type: ignore[attr-defined]
    sys.modules["careamics.utils"] = utils
    settings = types.ModuleType("careamics.config.noise_model.likelihood_config")
    settings.GaussianLikelihoodConfig = settings.NMLikelihoodConfig = object  # type: ignore[attr-defined]
    sys.modules[settings.__name__] = settings
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules[name] = types.ModuleType(name)  # only used to crop odd sizes
    sys.modules["torchvision.transforms"].functional = sys.modules[  # type: ignore[attr-defined]
        "torchvision.transforms.functional"
    ]
    from careamics.losses.lvae import lvae_losses
    from careamics.models.lvae import likelihoods, lvae, noise_models
    from careamics.models.unet import UNet

    return types.SimpleNamespace(
        losses=lvae_losses, likelihoods=likelihoods, LadderVAE=lvae.LadderVAE,
        noise_models=noise_models, UNet=UNet,
    )  # fmt: skip


def peer(patch: int, *, structures: int = 2, filters: int = 64, latents: int = 128) -> Any:
    """Return CAREamics' network with the sizes of ours."""
    return careamics().LadderVAE(
        (patch, patch), structures, 1, [latents] * 4, filters, filters, [2, 2], [2, 2], 0.1, 0.1,
        "ELU", None, False,
    )  # fmt: skip


def peer_likelihood(models: Sequence[Any], means: Any, stds: Any) -> Any:
    """Return CAREamics' likelihood with noise models of ours, read from exchange files.

    ``means`` and ``stds`` (C,) normalise the structures.
    """
    library, theirs = careamics(), []
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):  # they print
        for number, model in enumerate(models):
            path = Path(folder) / f"{number}.npz"
            path.write_bytes(model.to_bytes())
            config = types.SimpleNamespace(path=path)
            theirs.append(library.noise_models.GaussianMixtureNoiseModel(config))
        for model in theirs:
            model.requires_grad_(False)
        together = library.noise_models.MultiChannelNoiseModel(theirs)
    likelihood = library.likelihoods.NoiseModelLikelihood(together)
    likelihood.noiseModel.to_device(torch.device("cpu"))
    likelihood.set_data_stats(*(values.reshape(1, -1, 1, 1) for values in (means, stds)))
    return likelihood


def peer_loss(likelihood: Any) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """Return CAREamics' loss of denoiSplit, of an output and normalised targets (B, C, Y, X)."""
    kl = types.SimpleNamespace(
        annealing=False, start=0, annealtime=1, current_epoch=0, loss_type="kl"
    )
    weights = types.SimpleNamespace(reconstruction_weight=1.0, kl_weight=1.0, kl_params=kl)
    loss = careamics().losses.denoisplit_loss

    def of(output: Any, targets: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = loss(output, targets, weights, None, likelihood)["loss"]
        return value

    return of
