"""Graph of a run, and its weights in three formats."""

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
from denoisplit_zoo.exporting.graph import Sampler
from denoisplit_zoo.exporting.kinds import PACKAGE_KINDS

OPSET = 17  # the newest that onnxruntime 1.12 reads


def graph_arguments(run: Run, *, samples: int, seed: int, kind: str = "mmse") -> dict[str, Any]:
    """Return the keyword arguments of the graph of a run, as plain values."""
    settings = run.config.settings
    calibration = {"calibration": [run.calibration[name] for name in run.names]}
    return {
        "samples": samples,
        "seed": seed,
        "antithetic": settings.prediction.antithetic,
        "quantum": run.config.facts.content_quantum,
        **(calibration if PACKAGE_KINDS[kind].calibrated else {}),
        "structures": len(run.names),
        "log_variance": SYSTEMS[settings.system].log_variance,
        **settings.network.arguments,
    }


def build_graph(run: Run, arguments: dict[str, Any], kind: str = "mmse") -> Sampler:
    """Build the graph with the weights of a run, on the CPU and in evaluation mode."""
    graph = PACKAGE_KINDS[kind].graph(**arguments)
    graph.network.load_state_dict(run.model.state_dict())
    return graph.eval().requires_grad_(False)


def state_dict(graph: Sampler) -> bytes:
    """Return the state dict as a file for ``torch.load(..., weights_only=True)``."""
    stream = io.BytesIO()
    torch.save({key: value.contiguous() for key, value in graph.state_dict().items()}, stream)
    return stream.getvalue()


def torchscript(graph: Sampler) -> bytes:
    """Trace the graph as TorchScript, for images of any size."""
    stream = io.BytesIO()
    with _tracing():
        traced = torch.jit.trace(graph, _trace_input(graph), check_trace=False)
        torch.jit.save(traced, stream)
    return _without_debug_records(stream.getvalue())


def onnx(graph: Sampler) -> bytes:
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


def _trace_input(graph: Sampler) -> Tensor:
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


def _without_debug_records(archive: bytes) -> bytes:
    """Remove the records that contain paths of source files; loading does not need them."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                new.writestr(zipfile.ZipInfo(entry.filename), old.read(entry))
    return stream.getvalue()
