"""Requirements of the consumers of a package, checked in its files without executing any of them.

Each rule was found by running the consumers' own software on packages that break it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch

from denoisplit.errors import InputError
from denoisplit.files.tensors import read_tensors
from denoisplit_zoo.archive import DESCRIPTION, Contents, at, mappings, validate
from denoisplit_zoo.checking.bioengine import IMPORTABLE
from denoisplit_zoo.checking.images import (
    cover_size,
    read_sample_tensor,
    read_test_tensor,
    unreadable,
)
from denoisplit_zoo.checking.prepared import for_bioimageio, unusable_files
from denoisplit_zoo.checking.programs import torchscript_program
from denoisplit_zoo.exporting.about import ANONYMOUS, UNDESCRIBED
from denoisplit_zoo.exporting.weights import OPSET

CORE, ILASTIK, DEEPIMAGEJ, ZOO = "core", "ilastik", "deepImageJ", "zoo"
BIOENGINE = "bioengine"  # the service that runs the models of the zoo
CONSUMERS = (CORE, ILASTIK, DEEPIMAGEJ, ZOO, BIOENGINE)

FORMAT = "0.5.9"
MOST_FILES = 11  # with three weight formats
WEIGHT_FORMATS = ("pytorch_state_dict", "torchscript", "onnx")
IR_VERSION = 8  # the newest version of ONNX files that onnxruntime 1.12 reads
AXES = ["batch", "channel", "space", "space"]
HEADINGS = "Description, Intended Use, How to use, Validation, Limitations, Training data, Citation"
COVER_KB = 500
COVER_RATIOS = (1.0, 2.0)
REQUIRED_METADATA = (
    "name description authors cite license tags documentation covers maintainers git_repo timestamp"
)
MOST_LEVELS = 8  # of a network
LARGEST_VALUE = 1e-4  # that a test tensor must reach, so that a comparison means something
TOLERANCE_LIMITS = {"relative_tolerance": 1e-2, "mismatched_elements_per_million": 5000}
MOST_TOLERANCE = 0.01  # absolute, of the range of the channel with the smallest
RANDOM_OPERATORS = re.compile(rb"Random(Normal|Uniform)|Multinomial|Bernoulli")


class Finding(NamedTuple):
    """One problem, and the consumers that it affects; or a remark on what was not run for them."""

    consumers: tuple[str, ...]
    text: str
    remark: bool = False


def findings(package: Contents) -> Iterator[Finding]:
    """Yield every problem that the files of a package show."""
    for check in CHECKS:
        yield from check(package)


def _files(package: Contents) -> Iterator[Finding]:
    referenced = {name for name, _ in package.references()}
    for name in sorted(referenced - set(package.files)):
        yield Finding(CONSUMERS, f"{DESCRIPTION} refers to {name}, which is missing")
    for name in package.changed:
        yield Finding(CONSUMERS, f"{name} was changed after the export (another SHA-256)")
    for name in sorted(set(package.files) - referenced - {DESCRIPTION}):
        yield Finding((ZOO,), f"{DESCRIPTION} does not refer to {name}, remove this file")
    if len(package.files) > MOST_FILES:
        text = f"there are {len(package.files)} files, more than {MOST_FILES} (export again)"
        yield Finding((ZOO, BIOENGINE), text)


def _format(package: Contents) -> Iterator[Finding]:
    description = package.description
    version = description.get("format_version")
    if version != FORMAT:
        yield Finding((DEEPIMAGEJ, ILASTIK, ZOO), f"format_version must be {FORMAT}, not {version}")
    for key, values in (
        ("documentation", [description.get("documentation")]),
        ("covers", description.get("covers")),
    ):
        if not all(isinstance(value, str) for value in values or [None]):
            yield Finding((DEEPIMAGEJ, ILASTIK, ZOO), f"{key} must be given as plain file names")
    try:
        if not unusable_files(package):
            validate(for_bioimageio(package), package.path)
    except InputError as error:
        yield Finding((CORE, ILASTIK, ZOO), error.problem)
    if not isinstance(at(description, "config", "bioimageio", "nickname"), str):
        yield Finding((DEEPIMAGEJ,), "config.bioimageio.nickname is missing")


def _tensors(package: Contents) -> Iterator[Finding]:
    inputs, outputs = (mappings(package.description.get(key)) for key in ("inputs", "outputs"))
    for name, tensors in (("input", inputs), ("output", outputs)):
        if len(tensors) != 1:
            text = f"there must be one {name} tensor, not {len(tensors)}"
            yield Finding((ILASTIK, DEEPIMAGEJ, ZOO), text)
        for tensor in tensors:
            for key in ("preprocessing", "postprocessing"):
                if tensor.get(key):
                    text = f"{key} of the {name} must be part of the graph, not of {DESCRIPTION}"
                    yield Finding((DEEPIMAGEJ,), text)
            axes = [axis.get("type") for axis in mappings(tensor.get("axes"))]
            if axes != AXES:
                given = ", ".join(map(str, axes))
                text = f"the axes of the {name} must be batch, channel, y, x, not {given}"
                yield Finding((ILASTIK, DEEPIMAGEJ), text)
    if len(inputs) == len(outputs) == 1:
        yield from _sizes(package, inputs[0], outputs[0])


def _sizes(
    package: Contents, tensor_in: dict[str, Any], tensor_out: dict[str, Any]
) -> Iterator[Finding]:
    state_dict = at(package.description, "weights", "pytorch_state_dict")
    levels = at(state_dict, "architecture", "kwargs", "levels")
    stride = 2**levels if levels in range(1, MOST_LEVELS + 1) else 16
    axes_in, axes_out = (
        [axis for axis in mappings(tensor.get("axes")) if axis.get("type") == "space"]
        for tensor in (tensor_in, tensor_out)
    )
    sizes = [axis.get("size") for axis in axes_in]
    tiles = [size for size in sizes if isinstance(size, int) and size % stride == 0]
    if len(tiles) < len(sizes) or not tiles:
        text = f"the input size must be fixed and a multiple of the stride {stride}, not {sizes}"
        yield Finding((CORE, ILASTIK), text)
        return
    for axis in axes_out:
        halo = axis.get("halo", 0)
        if not (isinstance(halo, int) and halo % stride == 0 and 0 < 2 * halo < min(tiles)):
            text = (
                f"the halo of {axis.get('id')} must be a multiple of {stride} px, and less than "
                f"half of the tile of {min(tiles)} px, not {halo} px"
            )
            yield Finding((CORE, ILASTIK, DEEPIMAGEJ), text)


def _images(package: Contents) -> Iterator[Finding]:
    """Compare test and sample tensors.

    The zoo's deepImageJ check runs the sample input and expects the test output.
    """
    for problem in unreadable(package):
        yield Finding(CONSUMERS, problem)
    for key, name in (("inputs", "input"), ("outputs", "output")):
        for tensor in mappings(package.description.get(key)):
            test, sample = (at(tensor, f"{kind}_tensor", "source") for kind in ("test", "sample"))
            # a sample of the output is one file too many, but packages of version 1 have it
            for kind, source in (("test", test), ("sample", sample)):
                if source is None and (kind, name) != ("sample", "output"):
                    yield Finding((CORE, DEEPIMAGEJ, ZOO), f"the {name} has no {kind} tensor")
            if test not in package.files:
                continue  # reported above, or by _files
            try:
                tested = read_test_tensor(package.files[test])
            except ValueError:
                continue  # reported above
            if not np.abs(tested).max(initial=0) >= LARGEST_VALUE:
                yield Finding((ZOO,), f"the test tensor of the {name} is empty")
            if sample not in package.files:
                continue
            try:
                shown = read_sample_tensor(package.files[sample], tested.size)
            except ValueError as error:
                text = f"the sample tensor of the {name} cannot be read ({error})"
                yield Finding((DEEPIMAGEJ, ZOO), text)
                continue
            if not np.array_equal(tested.ravel(), shown):
                text = f"the test and the sample tensor of the {name} differ"
                yield Finding((DEEPIMAGEJ, ZOO), text)


def _tolerance(package: Contents) -> Iterator[Finding]:
    entries = at(package.description, "config", "bioimageio", "reproducibility_tolerance")
    for entry in mappings(entries):
        for key, limit in TOLERANCE_LIMITS.items():
            value = entry.get(key, 0)
            if not (isinstance(value, int | float) and value <= limit):
                text = f"{key} must be at most {limit:g}, not {value}"
                yield Finding((CORE, ZOO, BIOENGINE), text)
        yield from _absolute_tolerance(package, entry.get("absolute_tolerance", 0))


def _absolute_tolerance(package: Contents, value: Any) -> Iterator[Finding]:
    """Compare a tolerance with the test output: it must mean something in every channel."""
    for tensor in mappings(package.description.get("outputs")):
        with suppress(ValueError, KeyError):  # reported with the other images
            output = read_test_tensor(package.files[at(tensor, "test_tensor", "source")])
            if output.ndim != len(AXES):
                continue
            limit = MOST_TOLERANCE * float(np.ptp(output, (0, 2, 3)).min())
            if not (isinstance(value, int | float) and value <= limit):
                text = (
                    f"absolute_tolerance must be at most {limit:.2g}, {MOST_TOLERANCE:.0%} of the "
                    f"range of the output channel with the smallest, not {value} (export again)"
                )
                yield Finding((ZOO, BIOENGINE), text)


def _weights(package: Contents) -> Iterator[Finding]:
    users = ((CORE, ILASTIK), (ILASTIK, DEEPIMAGEJ), (ZOO,))
    checks = (_state_dict, _torchscript, _onnx)
    for name, consumers, check in zip(WEIGHT_FORMATS, users, checks, strict=True):
        entry = at(package.description, "weights", name)
        if entry is None:
            yield Finding(consumers, f"the {name} weights are missing")
            continue
        if name != WEIGHT_FORMATS[0] and not entry.get("parent"):
            yield Finding((CORE, ZOO), f"the {name} weights do not name their parent")
        data = package.files.get(entry["source"])
        for key, value in (at(entry, "architecture", "kwargs") or {}).items():
            if not isinstance(value, int | float | str):  # a bool is an int
                given = type(value).__name__
                text = f"argument {key!a} must be a number, a word, true or false, not {given}"
                yield Finding((ZOO, BIOENGINE), text)
        if data is not None:
            yield from check(data)


def _imports(package: Contents) -> Iterator[Finding]:
    """Read what the source file imports, without running it."""
    source = at(package.description, "weights", WEIGHT_FORMATS[0], "architecture", "source")
    try:
        tree = ast.parse(package.files.get(source, b""))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield Finding((CORE, ILASTIK, ZOO, BIOENGINE), f"{source} is not valid Python")
        return
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    roots = {name.partition(".")[0] or name for name in names}
    if missing := sorted(roots - sys.stdlib_module_names - set(IMPORTABLE)):
        text = f"{source} imports {', '.join(missing)}, which bioengine does not have"
        yield Finding((BIOENGINE,), text)


def _state_dict(data: bytes) -> Iterator[Finding]:
    try:
        values = read_tensors(data)
        valid = isinstance(values, dict) and all(torch.is_tensor(v) for v in values.values())
    except ValueError:
        valid = False
    if not valid:
        yield Finding((CORE, ILASTIK, ZOO, BIOENGINE), "the state dict must contain tensors only")


def _torchscript(data: bytes) -> Iterator[Finding]:
    try:
        code = torchscript_program(data)
    except ValueError as error:
        text = f"the TorchScript file cannot be read ({error})"
        yield Finding((ILASTIK, DEEPIMAGEJ, ZOO, BIOENGINE), text)
        return
    if b'torch.device("' in code:
        yield Finding((ILASTIK, DEEPIMAGEJ), "the TorchScript code is bound to one device")
    if re.search(rb"torch\.(rand|normal|bernoulli)", code):
        yield Finding((CORE, ZOO), "the TorchScript code draws random numbers")


def _onnx(data: bytes) -> Iterator[Finding]:
    import onnx

    try:
        model = onnx.load_from_string(data)
    except Exception:  # protobuf raises types that it does not export
        yield Finding((DEEPIMAGEJ, CORE, ZOO, BIOENGINE), "the ONNX file cannot be read")
        return
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        yield Finding((DEEPIMAGEJ, CORE, ZOO), "the weights of the ONNX file are in other files")
    opset = max((o.version for o in model.opset_import), default=0)
    for name, version, limit in (
        ("IR version", model.ir_version, IR_VERSION),
        ("opset", opset, OPSET),
    ):
        if version > limit:
            text = f"the {name} of the ONNX file must be at most {limit}, not {version}"
            yield Finding((DEEPIMAGEJ,), text)
    if any(RANDOM_OPERATORS.search(node.op_type.encode()) for node in model.graph.node):
        yield Finding((CORE, DEEPIMAGEJ, ZOO), "the ONNX graph draws random numbers")


def _metadata(package: Contents) -> Iterator[Finding]:
    description = package.description
    missing = [key for key in REQUIRED_METADATA.split() if not description.get(key)]
    if any(str(a.get("name")) == ANONYMOUS for a in mappings(description.get("authors"))):
        missing.append("authors")
    card = package.files.get(str(description.get("documentation")), b"").decode(errors="replace")
    if UNDESCRIBED in card:
        missing.append("training_data")
    if missing:
        keys = ", ".join(dict.fromkeys(missing))
        yield Finding((ZOO,), f"missing metadata: {keys} (export again with `about`)")
    lines = card.splitlines()
    headings = [line.lstrip("#").strip() for line in lines if line.startswith(("# ", "## "))]
    missing = [heading for heading in HEADINGS.split(", ") if heading not in headings]
    if missing:
        yield Finding((ZOO,), f"missing sections of the README: {', '.join(missing)}")


def _cover(package: Contents) -> Iterator[Finding]:
    for cover in package.description.get("covers", ()):
        name = cover["source"] if isinstance(cover, dict) else cover
        data = package.files.get(name)
        if data is None:
            continue
        if len(data) >= COVER_KB * 1000:
            text = f"{name} must be smaller than {COVER_KB} KB, not {len(data) // 1000} KB"
            yield Finding((ZOO,), text)
        try:
            width, height = cover_size(data)
        except ValueError:
            continue  # reported with the other images
        if width / height not in COVER_RATIOS:
            text = f"the aspect ratio of {name} must be 2:1 or 1:1, not {width / height:.2g}:1"
            yield Finding((ZOO,), text)


CHECKS = (_files, _format, _tensors, _images, _tolerance, _weights, _imports, _metadata, _cover)
