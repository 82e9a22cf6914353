"""Graph of a run, and its weights in three formats."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from denoisplit.config.systems import SYSTEMS
from denoisplit.network.error_map import ErrorMap
from denoisplit.prediction.intervals import interval_number
from denoisplit.run import MEANS, Run
from denoisplit_zoo.exporting.graph import Fast, MeanAndErrorMap, MeanAndStd, Splitter
from denoisplit_zoo.exporting.kinds import COVERAGE, package_kind
from denoisplit_zoo.exporting.script_archive import reproducible

OPSET = 17  # the newest that onnxruntime 1.12 reads


def graph_arguments(
    run: Run, *, samples: int, seed: int, kind: str = "mmse", coverage: float = COVERAGE
) -> dict[str, Any]:
    """Return the keyword arguments of the graph of a run: numbers and words, as the zoo requires.

    Raises
    ------
    InputError
        If the kind needs an error map and the run has none, or none of this coverage.
    """
    settings, of_kind = run.config.settings, package_kind(kind, run)
    arguments: dict[str, Any] = {}
    if of_kind.sampled:
        arguments |= {
            "samples": samples,
            "seed": seed,
            "antithetic": settings.prediction.antithetic,
            "quantum": run.config.facts.content_quantum,
        }
    if of_kind.error_map and run.error_map is not None:
        arguments |= _sizes(run.error_map)
        if run.model.mean_correction is not None:
            arguments["mean_filters"] = run.model.mean_correction.filters
        if of_kind.interval:
            arguments["number"] = interval_number(run.error_map, coverage)
    of_network = {name: v for name, v in settings.network.arguments.items() if v is not None}
    log_variance = SYSTEMS[settings.system].log_variance
    return arguments | {"structures": len(run.names), "log_variance": log_variance, **of_network}


def _sizes(error_map: ErrorMap) -> dict[str, int]:
    """Return the arguments that an error map was built with."""
    coverages, _, groups = error_map.quantiles.shape
    filters = len(error_map.get_parameter("layers.0.bias"))
    return {"error_groups": groups, "error_coverages": coverages, "error_filters": filters}


def build_graph(run: Run, arguments: dict[str, Any], kind: str = "mmse") -> Splitter:
    """Build the graph with the weights of a run, on the CPU and in evaluation mode."""
    with torch.random.fork_rng(devices=[]):  # its initial weights are not used
        graph = package_kind(kind, run).graph(**arguments)
    state = run.model.state_dict()
    if graph.network.mean_correction is None:  # kinds without decoded means
        state = {name: value for name, value in state.items() if not name.startswith(MEANS)}
    graph.network.load_state_dict(state)
    if isinstance(graph, MeanAndErrorMap | Fast) and run.error_map is not None:
        graph.error_map.load_state_dict(run.error_map.state_dict())
    if isinstance(graph, MeanAndStd):
        graph.calibration.copy_(torch.from_numpy(run.factors))
    return graph.eval().requires_grad_(False)


def check_sizes(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Compare a state dict with the network that it is for.

    Raises
    ------
    ValueError
        With one line, if a name or a size differs.
    """
    expected = network.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        if name not in state:
            raise ValueError(f"{name} is missing")
        if name not in expected:
            raise ValueError(f"{name} belongs to another network")
        if state[name].shape != expected[name].shape:
            sizes = (" x ".join(map(str, s[name].shape)) or "1" for s in (state, expected))
            raise ValueError("{} has {} values, expected {}".format(name, *sizes))


def state_dict(graph: Splitter) -> bytes:
    """Return the state dict as a file for ``torch.load(..., weights_only=True)``."""
    stream = io.BytesIO()
    torch.save({key: value.contiguous() for key, value in graph.state_dict().items()}, stream)
    return stream.getvalue()


def torchscript(graph: Splitter) -> bytes:
    """Trace the graph as TorchScript, for images of any size."""
    stream = io.BytesIO()
    with _tracing():
        traced = torch.jit.trace(graph, _trace_input(graph), check_trace=False)
        torch.jit.save(traced, stream)
    return reproducible(stream.getvalue())


def onnx(graph: Splitter) -> bytes:
    """Convert the graph to ONNX, with dynamic batch, y and x."""
    stream = io.BytesIO()
    dynamic = {0: "batch", 2: "y", 3: "x"}
    with _tracing():
        torch.onnx.export(
            graph,
            (_trace_input(graph),),
            stream,  # type: ignore[arg-type]  # streams are allowed, but not typed
            dynamo=False,  # older runtimes reject the file format of the newer exporter
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": dynamic, "output": dynamic},
        )
    return stream.getvalue()


def _trace_input(graph: Splitter) -> Tensor:
    """Return an image whose size is no multiple of the stride, so that padding is traced."""
    stride = graph.network.stride
    return torch.linspace(0, 1, (3 * stride + 5) * (4 * stride + 11)).reshape(
        1, 1, 3 * stride + 5, 4 * stride + 11
    )


@contextmanager
def _tracing() -> Iterator[None]:
    """Silence the warning that tracing is deprecated: consumers read nothing newer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        yield
