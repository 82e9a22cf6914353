"""The graph of a run, and its weights in three formats."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from denoisplit.config.systems import SYSTEMS
from denoisplit.run import Run
from denoisplit_zoo.exporting.graph import MeanAndStd, Sampler
from denoisplit_zoo.exporting.kinds import KINDS

OPSET = 17  # the newest that onnxruntime 1.12 reads, with version 8 of the file format


def graph_arguments(run: Run, *, samples: int, seed: int, kind: str = "mmse") -> dict[str, Any]:
    """Plain keyword arguments of the graph of a run."""
    settings = run.config.settings
    calibration = [run.calibration[name] for name in run.names]
    return {
        "samples": samples,
        "seed": seed,
        "antithetic": settings.prediction.antithetic,
        "quantum": run.config.facts.content_quantum,
        **({"calibration": calibration} if KINDS[kind].graph is MeanAndStd else {}),
        "structures": len(run.names),
        "log_variance": not SYSTEMS[settings.system].noise_models,
        **settings.network.arguments,
    }


def build_graph(run: Run, arguments: dict[str, Any], kind: str = "mmse") -> Sampler:
    """The graph with the weights of a run, on the CPU, ready to predict."""
    graph = KINDS[kind].graph(**arguments)
    graph.network.load_state_dict(run.model.state_dict())
    return graph.eval().requires_grad_(False)


def state_dict(graph: Sampler) -> bytes:
    """Weights as tensors, to be read with ``torch.load(..., weights_only=True)``."""
    stream = io.BytesIO()
    torch.save({key: value.contiguous() for key, value in graph.state_dict().items()}, stream)
    return stream.getvalue()


def torchscript(graph: Sampler) -> bytes:
    """The traced graph, for images of any size."""
    stream = io.BytesIO()
    with _old_ways():
        traced = torch.jit.trace(graph, _trace_input(graph), check_trace=False)
        torch.jit.save(traced, stream)
    return _without_debug_records(stream.getvalue())


def onnx(graph: Sampler) -> bytes:
    """The graph as ONNX with free batch, y and x."""
    stream = io.BytesIO()
    free = {0: "batch", 2: "y", 3: "x"}
    with _old_ways():
        torch.onnx.export(
            graph,
            (_trace_input(graph),),
            stream,  # type: ignore[arg-type]  # takes streams, although not typed so
            dynamo=False,  # the newer exporter writes a file format that older runtimes refuse
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": free, "output": free},
        )
    return stream.getvalue()


def _trace_input(graph: Sampler) -> Tensor:
    """An image off the network's grid, so that padding and cropping are in the trace."""
    stride = graph.network.stride
    return torch.linspace(0, 1, (3 * stride + 5) * (4 * stride + 11)).reshape(
        1, 1, 3 * stride + 5, 4 * stride + 11
    )


@contextmanager
def _old_ways() -> Iterator[None]:
    """Tracing is deprecated; it is what every consumer reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        yield


def _without_debug_records(archive: bytes) -> bytes:
    """A TorchScript file without the records that name source files of the machine it was made on.

    Loading does not need them.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                new.writestr(zipfile.ZipInfo(entry.filename), old.read(entry))
    return stream.getvalue()
