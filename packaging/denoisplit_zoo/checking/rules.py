"""What consumers of a package ask for, looked up in its files; nothing in them is executed.

Each rule was found by running the consumers' own software on packages that break it.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from denoisplit.errors import InputError
from denoisplit.files.tensors import read_tensors
from denoisplit_zoo.archive import DESCRIPTION, Contents, validate
from denoisplit_zoo.exporting.about import ANONYMOUS, UNDESCRIBED
from denoisplit_zoo.exporting.weights import OPSET

CORE, ILASTIK, DEEPIMAGEJ, ZOO = "core", "ilastik", "deepImageJ", "zoo"
CONSUMERS = (CORE, ILASTIK, DEEPIMAGEJ, ZOO)

FORMAT = "0.5.9"
FORMATS = ("pytorch_state_dict", "torchscript", "onnx")
IR_VERSION = 8  # the newest of ONNX files that onnxruntime 1.12 reads
HEADINGS = (
    "Description",
    "Intended Use",
    "How to use",
    "Validation",
    "Limitations",
    "Training data",
    "Citation",
)
COVER_BYTES = 500_000
RATIOS = (1.0, 2.0)  # of the cover
ASKED_FOR = (
    "name",
    "description",
    "authors",
    "cite",
    "license",
    "tags",
    "documentation",
    "covers",
    "maintainers",
    "git_repo",
    "timestamp",
)
LEAST = 1e-4  # of some value of a test tensor
CEILINGS = {"relative_tolerance": 1e-2, "mismatched_elements_per_million": 5000}
RANDOM = re.compile(rb"Random(Normal|Uniform)|Multinomial|Bernoulli")


class Finding(NamedTuple):
    """What is wrong, and for whom."""

    consumers: tuple[str, ...]
    text: str


def findings(package: Contents) -> Iterator[Finding]:
    """Everything that is wrong with a package, as far as its files tell."""
    for check in CHECKS:
        yield from check(package)


def _files(package: Contents) -> Iterator[Finding]:
    named = {name for name, _ in package.named()}
    for name in sorted(named - set(package.files)):
        yield Finding(CONSUMERS, f"{name} is named in {DESCRIPTION} and not there")
    for name in package.changed:
        yield Finding(CONSUMERS, f"{name} was changed: its SHA-256 is not that of {DESCRIPTION}")
    for name in sorted(set(package.files) - named - {DESCRIPTION}):
        yield Finding((ZOO,), f"{name} is named nowhere in {DESCRIPTION}: leave it out")


def _format(package: Contents) -> Iterator[Finding]:
    described = package.description
    if described.get("format_version") != FORMAT:
        yield Finding(
            (DEEPIMAGEJ, ILASTIK, ZOO),
            f"format_version is {described.get('format_version')}, expected {FORMAT}",
        )
    for key, values in (
        ("documentation", [described.get("documentation")]),
        ("covers", described.get("covers")),
    ):
        if not all(isinstance(value, str) for value in values or [None]):
            yield Finding((DEEPIMAGEJ, ILASTIK, ZOO), f"{key} has to be given as plain file names")
    try:
        if not package.changed:  # it would say the same at length
            validate(package.path.read_bytes(), package.path)
    except InputError as error:
        yield Finding(
            (CORE, ILASTIK, ZOO), f"the format's own check says: {error.problem or error.found}"
        )
    nickname = at(described, "config", "bioimageio", "nickname")
    if not isinstance(nickname, str):
        yield Finding((DEEPIMAGEJ,), "config.bioimageio.nickname lacks")


def _tensors(package: Contents) -> Iterator[Finding]:
    inputs, outputs = (_list(package.description.get(key)) for key in ("inputs", "outputs"))
    for what, tensors in (("input", inputs), ("output", outputs)):
        if len(tensors) != 1:
            yield Finding(
                (ILASTIK, DEEPIMAGEJ, ZOO), f"{len(tensors)} {what} tensors, expected one"
            )
        for tensor in tensors:
            for key in ("preprocessing", "postprocessing"):
                if tensor.get(key):
                    yield Finding((DEEPIMAGEJ,), f"{what} has {key}, expected it in the graph")
            kinds = [axis.get("type") for axis in _list(tensor.get("axes"))]
            if kinds != ["batch", "channel", "space", "space"]:
                yield Finding(
                    (ILASTIK, DEEPIMAGEJ),
                    f"{what} has the axes {', '.join(map(str, kinds))}, expected batch, channel, "
                    "y, x",
                )
    if len(inputs) == len(outputs) == 1:
        yield from _sizes(package, inputs[0], outputs[0])


def _sizes(package: Contents, given: dict[str, Any], returned: dict[str, Any]) -> Iterator[Finding]:
    levels = at(
        package.description, "weights", "pytorch_state_dict", "architecture", "kwargs", "levels"
    )
    stride = 2**levels if isinstance(levels, int) else 16
    space = [axis for axis in _list(given.get("axes")) if axis.get("type") == "space"]
    sizes = [axis.get("size") for axis in space]
    tiles = [size for size in sizes if isinstance(size, int) and size % stride == 0]
    if len(tiles) < len(sizes) or not tiles:
        yield Finding(
            (CORE, ILASTIK),
            f"the input size is {sizes}, expected a fixed one, a multiple of the stride {stride}",
        )
        return
    for axis in _list(returned.get("axes")):
        if axis.get("type") != "space":
            continue
        halo = axis.get("halo", 0)
        if not (isinstance(halo, int) and halo % stride == 0 and 0 < 2 * halo < min(tiles)):
            yield Finding(
                (CORE, ILASTIK, DEEPIMAGEJ),
                f"the halo of {axis.get('id')} is {halo} px, expected a multiple of {stride} px, "
                f"less than half of the tile of {min(tiles)} px",
            )


def _images(package: Contents) -> Iterator[Finding]:
    """The zoo's check of deepImageJ compares its run on the sample with the output of the test."""
    import numpy as np
    import tifffile

    for key, what in (("inputs", "input"), ("outputs", "output")):
        for tensor in _list(package.description.get(key)):
            named = [at(tensor, f"{name}_tensor", "source") for name in ("test", "sample")]
            if None in named:
                lacking = ("test", "sample")[named.index(None)]
                yield Finding((CORE, DEEPIMAGEJ, ZOO), f"{what} has no {lacking} tensor")
            if not all(isinstance(name, str) and name in package.files for name in named):
                continue  # said already
            test, sample = (package.files[name] for name in named)
            try:
                tested = np.load(io.BytesIO(test), allow_pickle=False).astype(np.float32)
                shown = tifffile.imread(io.BytesIO(sample))
            except (ValueError, OSError, EOFError, tifffile.TiffFileError) as error:
                yield Finding(CONSUMERS, f"a test or sample tensor of {what} is no image ({error})")
                continue
            if not np.array_equal(tested.ravel(), shown.ravel()):
                yield Finding((DEEPIMAGEJ, ZOO), f"test and sample tensor of {what} differ")
            if not np.abs(tested).max(initial=0) >= LEAST:
                yield Finding((ZOO,), f"the test tensor of {what} is empty")


def _tolerance(package: Contents) -> Iterator[Finding]:
    entries = at(package.description, "config", "bioimageio", "reproducibility_tolerance")
    for entry in _list(entries):
        for key, most in CEILINGS.items():
            value = entry.get(key, 0)
            if not (isinstance(value, int | float) and value <= most):
                yield Finding((CORE, ZOO), f"the {key} is {value}, the format allows {most:g}")


def _weights(package: Contents) -> Iterator[Finding]:
    entries = package.description.get("weights")
    entries = entries if isinstance(entries, dict) else {}
    users = {FORMATS[0]: (CORE, ILASTIK), FORMATS[1]: (ILASTIK, DEEPIMAGEJ), FORMATS[2]: (ZOO,)}
    for name in FORMATS:
        if name not in entries:
            yield Finding(users[name], f"no {name} weights")
        elif name != FORMATS[0] and not entries[name].get("parent"):
            yield Finding((CORE, ZOO), f"the {name} weights name no parent")
    content = {name: package.files.get(str(e.get("source"))) for name, e in entries.items()}
    for name, look in ((FORMATS[0], _state_dict), (FORMATS[1], _torchscript), (FORMATS[2], _onnx)):
        data = content.get(name)
        if data is not None:
            yield from look(data)


def _state_dict(data: bytes) -> Iterator[Finding]:
    try:
        values = read_tensors(data)
        plain = isinstance(values, dict) and all(torch.is_tensor(v) for v in values.values())
    except ValueError:
        plain = False
    if not plain:
        yield Finding((CORE, ILASTIK, ZOO), "the state dict is no plain one of tensors")


def _torchscript(data: bytes) -> Iterator[Finding]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            code = b"".join(
                archive.read(name) for name in archive.namelist() if name.endswith(".py")
            )
    except (zipfile.BadZipFile, OSError):
        yield Finding((ILASTIK, DEEPIMAGEJ, ZOO), "the TorchScript file is no archive")
        return
    if re.search(rb'torch\.device\("', code):
        yield Finding((ILASTIK, DEEPIMAGEJ), "the TorchScript code names a device")
    if re.search(rb"torch\.(rand|normal|bernoulli)", code):
        yield Finding((CORE, ZOO), "the TorchScript code draws random numbers")


def _onnx(data: bytes) -> Iterator[Finding]:
    import onnx

    try:
        model = onnx.load_from_string(data)
    except Exception:  # of protobuf, which has no types
        yield Finding((DEEPIMAGEJ, CORE, ZOO), "the ONNX file is none")
        return
    if model.ir_version > IR_VERSION:
        yield Finding(
            (DEEPIMAGEJ,), f"the ONNX file has IR version {model.ir_version}, at most {IR_VERSION}"
        )
    opset = max((o.version for o in model.opset_import), default=0)
    if opset > OPSET:
        yield Finding((DEEPIMAGEJ,), f"the ONNX file has opset {opset}, at most {OPSET}")
    if any(RANDOM.search(node.op_type.encode()) for node in model.graph.node):
        yield Finding((CORE, DEEPIMAGEJ, ZOO), "the ONNX graph draws random numbers")


def _metadata(package: Contents) -> Iterator[Finding]:
    described = package.description
    lacking = [key for key in ASKED_FOR if not described.get(key)]
    if any(str(a.get("name")) == ANONYMOUS for a in _list(described.get("authors"))):
        lacking.append("authors")
    card = package.files.get(str(described.get("documentation")), b"").decode(errors="replace")
    if UNDESCRIBED in card:
        lacking.append("training_data")
    if lacking:
        yield Finding(
            (ZOO,), f"not given: {', '.join(dict.fromkeys(lacking))}; say it with export --about"
        )
    headings = re.findall(r"^##? (.*?)\s*$", card, re.MULTILINE)
    missing = [heading for heading in HEADINGS if heading not in headings]
    if missing:
        yield Finding((ZOO,), f"the README lacks the headings {', '.join(missing)}")


def _cover(package: Contents) -> Iterator[Finding]:
    from PIL import Image, UnidentifiedImageError

    for name in package.description.get("covers") or ():
        data = package.files.get(name) if isinstance(name, str) else None
        if data is None:
            continue
        if len(data) >= COVER_BYTES:
            yield Finding(
                (ZOO,), f"{name} has {len(data) // 1000} KB, expected under {COVER_BYTES // 1000}"
            )
        try:
            with Image.open(io.BytesIO(data)) as picture:
                ratio = picture.width / picture.height
        except (UnidentifiedImageError, OSError):
            yield Finding((ZOO,), f"{name} is no picture")
            continue
        if ratio not in RATIOS:
            yield Finding((ZOO,), f"{name} has the ratio {ratio:.2g}:1, expected 2:1 or 1:1")


def at(value: Any, *keys: str) -> Any:
    """A value inside nested mappings; None where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


CHECKS: tuple[Callable[[Contents], Iterator[Finding]], ...] = (
    _files,
    _format,
    _tensors,
    _images,
    _tolerance,
    _weights,
    _metadata,
    _cover,
)
