"""Three weight formats of one graph: equal results, and what old runtimes ask of them."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import subprocess
import sys
import types
import warnings
import zipfile
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from denoisplit_zoo.exporting import weights
from denoisplit_zoo.exporting.graph import ContentKeys, Splitter
from denoisplit_zoo.exporting.kinds import channel_names
from denoisplit_zoo.exporting.source_file import MODULES, architecture_source, combine
from torch import Tensor, nn

from denoisplit.network.addressed_noise import (
    channel_keys,
    content_keys,
    normal_table,
    standard_normal,
)
from denoisplit.run import Run, load, load_config

from ..conftest import ONE_PASS

SIZES = [(1, 64, 96), (1, 50, 61), (2, 33, 48), (1, 130, 75)]  # batch, y, x


def raw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(200, 60, shape).astype(np.float32)


class Exported:
    """The graph of a run in all formats, each of which is made once."""

    def __init__(self, run: Run, kind: str, samples: int) -> None:
        self.arguments = weights.graph_arguments(run, samples=samples, seed=1, kind=kind)
        self.graph = weights.build_graph(run, self.arguments, kind)

    @cached_property
    def script(self) -> bytes:
        return weights.torchscript(self.graph)

    @cached_property
    def onnx(self) -> bytes:
        return weights.onnx(self.graph)


@pytest.fixture(scope="module")
def exported(mapped_folder: Path) -> Callable[[str, int], Exported]:
    """Exports of a run with an error map, by kind and number of samples."""
    run = load(mapped_folder, device="cpu")
    return cache(lambda kind, samples: Exported(run, kind, samples))


@pytest.fixture(scope="module")
def plain(run_folder: Path) -> Exported:
    return Exported(load(run_folder, device="cpu"), "mmse", 3)


@pytest.fixture(scope="module")
def graph(plain: Exported) -> Splitter:
    return plain.graph


@pytest.fixture(scope="module")
def script(plain: Exported) -> bytes:
    return plain.script


@pytest.fixture(scope="module")
def onnx_file(plain: Exported) -> bytes:
    return plain.onnx


def loaded(script: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(io.BytesIO(script))


@pytest.fixture(scope="module")
def runners(
    graph: Splitter, script: bytes, onnx_file: bytes
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    traced, runtime = loaded(script), ort.InferenceSession(onnx_file)

    @torch.inference_mode()
    def torched(module: Any, image: np.ndarray) -> np.ndarray:
        out: np.ndarray = module(torch.from_numpy(image)).numpy()
        return out

    return {
        "python": lambda image: torched(graph, image),
        "torchscript": lambda image: torched(traced, image),
        "onnx": lambda image: runtime.run(None, {"input": image})[0],
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["torchscript", "onnx"])
def test_formats_agree(runners: Any, name: str, size: tuple[int, int, int]) -> None:
    image = raw(size[0], 1, *size[1:])
    expected, found = runners["python"](image), runners[name](image)
    assert found.shape == (size[0], 4, *size[1:])
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(image)


def integers_of_pixels(data: bytes) -> set[str]:
    """Operators of an ONNX graph that make integers of the values, not the shape, of the input."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(data)).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    assert not any(a.HasField("g") for node in graph.node for a in node.attribute)
    of_pixels, found = {"input"}, set()
    for node in graph.node:  # in the order of execution
        if node.op_type == "Shape" or of_pixels.isdisjoint(node.input):
            continue
        of_pixels |= set(node.output)
        no_integers = (onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL)
        found |= {node.op_type for name in node.output if types[name] not in no_integers}
    assert "output" in of_pixels
    return found


@pytest.mark.parametrize(
    ("kind", "samples"),
    [("mmse", 1), ("fast", 0), ("interval", 0), ("samples", 3), ("samples", 1), ("split", 1)],
)
def test_formats_of_every_kind_agree(
    mapped_folder: Path, exported: Callable[[str, int], Exported], kind: str, samples: int
) -> None:
    """Those of one pass also where a runtime has no 64-bit integers; the others hash pixels."""
    of_kind = exported(kind, samples)
    graph, file = of_kind.graph, of_kind.onnx
    runtime, script = ort.InferenceSession(file), loaded(of_kind.script)
    channels = len(channel_names(kind, load_config(mapped_folder).settings.names, samples))
    for shape in ((1, 1, 50, 61), (2, 1, 70, 35)):
        image = raw(*shape)
        with torch.inference_mode():
            expected = graph(torch.from_numpy(image)).numpy()
            traced = script(torch.from_numpy(image)).numpy()
        for found in (traced, runtime.run(None, {"input": image})[0]):
            assert found.shape == (shape[0], channels, *shape[2:])
            assert np.abs(found - expected).max() < 1e-4 * np.ptp(image)
    integers = integers_of_pixels(file)
    assert integers == set() if kind in ONE_PASS else {"Cast", "Mul", "Mod"} <= integers


# ---------------------------------------------------------------- TorchScript


@pytest.mark.parametrize(
    ("kind", "samples"),
    [("mmse", 2), ("fast", 0), ("interval", 0), ("samples", 3), ("split", 1)],
)
def test_torchscript_names_no_device_and_no_random_numbers(
    exported: Callable[[str, int], Exported], kind: str, samples: int
) -> None:
    code = str(loaded(exported(kind, samples).script).inlined_graph)
    assert "Device = prim::Constant" not in code
    for name in ("rand", "normal", "bernoulli", "arange", "aten::zeros", "aten::full"):
        assert name not in code, name


def test_torchscript_names_no_place(script: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(script)) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    for path in (torch.__file__, weights.__file__):
        assert str(Path(path).parent).encode() not in content


# ---------------------------------------------------------------- ONNX


def test_onnx_is_old_enough(onnx_file: bytes) -> None:
    model = onnx.load_from_string(onnx_file)
    onnx.checker.check_model(model)
    assert model.ir_version <= 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert [i.name for i in model.graph.input] == ["input"]
    assert [o.name for o in model.graph.output] == ["output"]
    assert not [n.op_type for n in model.graph.node if "Random" in n.op_type]
    free = [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert free == ["batch", "", "y", "x"]


@pytest.mark.parametrize(("kind", "samples"), [("mmse", 2), ("interval", 0)])
def test_onnx_holds_every_weight_once(
    exported: Callable[[str, int], Exported], kind: str, samples: int
) -> None:
    of_kind = exported(kind, samples)
    inside = sum(v.numel() for k, v in of_kind.graph.state_dict().items() if "prior" not in k)
    model = onnx.load_from_string(of_kind.onnx)
    stored = sum(int(np.prod(i.dims)) for i in model.graph.initializer)
    assert stored < 1.1 * inside


class Probe(nn.Module):
    """Keys and noise, as the graph makes them."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = ContentKeys(4, 2.0)
        self.register_buffer("table", normal_table().clone())
        self.register_buffer("channels", torch.stack([channel_keys(3, 0, i, 5) for i in range(4)]))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        keys = self.keys(image)
        eps = [standard_normal(k, self.channels[i], self.table) for i, k in enumerate(keys)]
        return (*keys, *eps)


@pytest.mark.parametrize("content", ["gaussian", "negative", "zero", "saturated", "large"])
def test_noise_is_equal_bit_for_bit_in_every_runtime(content: str) -> None:
    """Sums beyond 2^53 must not occur: onnxruntime adds int64 in double precision."""
    image = raw(2, 64, 80)
    image = {
        "gaussian": image,
        "negative": image - 400,
        "zero": 0 * image,
        "saturated": np.minimum(image, 150),
        "large": image * 1e6,
    }[content]
    tensor, probe, stream = torch.from_numpy(image), Probe(), io.BytesIO()
    names = [f"{kind}{i}" for kind in ("key", "eps") for i in range(4)]
    with weights._tracing():
        traced = torch.jit.trace(probe, torch.zeros(1, 48, 32), check_trace=False)
        torch.onnx.export(
            probe, (torch.zeros(1, 48, 32),), stream, dynamo=False, opset_version=weights.OPSET,
            input_names=["image"], output_names=names,
            dynamic_axes={"image": {0: "batch", 1: "y", 2: "x"}},
        )  # fmt: skip
    keys = content_keys(tensor, levels=4, quantum=2.0)
    eps = [standard_normal(k, channel_keys(3, 0, i, 5), normal_table()) for i, k in enumerate(keys)]
    runtime = ort.InferenceSession(stream.getvalue())
    from_onnx = runtime.run(names, {"image": image})
    for expected, a, b in zip([*keys, *eps], traced(tensor), from_onnx, strict=True):
        assert torch.equal(expected, a)
        np.testing.assert_array_equal(expected.numpy(), b)


# ---------------------------------------------------------------- state dict and architecture

ALONE = """
import json, os, sys
import numpy as np
import torch
sys.modules["denoisplit"] = sys.modules["denoisplit_zoo"] = None  # an import would fail
for folder in sys.argv[1:]:
    os.chdir(folder)
    namespace = {"__name__": "architecture"}
    exec(open("architecture.py", encoding="utf-8").read(), namespace)
    kwargs = json.load(open("kwargs.json"))
    graph = namespace[kwargs.pop("callable")](**kwargs)
    graph.load_state_dict(torch.load("weights.pt", weights_only=True), strict=True)
    with torch.inference_mode():
        np.save("out.npy", graph.eval()(torch.from_numpy(np.load("in.npy"))).numpy())
"""


def test_the_architecture_file_computes_the_same_alone(
    exported: Callable[[str, int], Exported], tmp_path: Path
) -> None:
    image = raw(1, 1, 50, 61)
    graphs = {}
    for of_kind in (exported("mmse", 2), exported("interval", 0)):
        graph = of_kind.graph
        folder = tmp_path / type(graph).__name__
        folder.mkdir()
        graphs[folder] = graph
        (folder / "architecture.py").write_text(architecture_source(), encoding="utf-8")
        (folder / "weights.pt").write_bytes(weights.state_dict(graph))
        kwargs = of_kind.arguments | {"callable": type(graph).__name__}
        (folder / "kwargs.json").write_text(json.dumps(kwargs))
        np.save(folder / "in.npy", image)
    assert len(graphs) == 2
    subprocess.run([sys.executable, "-c", ALONE, *graphs], check=True, timeout=120)
    for folder, graph in graphs.items():
        with torch.inference_mode():
            expected = graph(torch.from_numpy(image)).numpy()
        np.testing.assert_array_equal(np.load(folder / "out.npy"), expected)


def test_the_architecture_file_is_the_sources() -> None:
    """Every class and function of the modules, as it stands; nothing of ours is imported."""
    source = architecture_source()
    assert source.count("from __future__ import annotations") == 1
    assert not [
        line for line in source.splitlines() if line.startswith(("import deno", "from deno"))
    ]
    for module in MODULES:
        own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
        assert own
        for thing in own:
            if isinstance(thing, type | types.FunctionType):
                assert re.search(rf"^(class|def) {thing.__name__}\b", source, re.MULTILINE)


def module_of(tmp_path: Path, name: str, source: str) -> types.ModuleType:
    path = tmp_path / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    return importlib.util.module_from_spec(spec)


@pytest.mark.parametrize(
    ("second", "word"),
    [
        ('"""B."""\ndef f(): ...\n', "f is defined in"),
        ('"""B."""\nlimit: int = 2\n', "limit is defined in"),
        (
            '"""B."""\nimport denoisplit.network.addressed_noise\n',
            "cannot be part of a joined file",
        ),
        (
            '"""B."""\nfrom denoisplit.network.addressed_noise import mix as m\n',
            "cannot be part of a joined file",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused(tmp_path: Path, second: str, word: str) -> None:
    sources = {"a_part": '"""A."""\nlimit = 1\ndef f(): ...\n', "b_part": second}
    modules = tuple(module_of(tmp_path, name, source) for name, source in sources.items())
    with pytest.raises(ValueError, match=word):
        combine(modules)
