"""Programs in a package: its source file, its TorchScript code and its ONNX graph.

TorchScript can write files and run for ever, ONNX files can name other files. A package is run
without being trusted only if these programs are, apart from their weights, those that this
installation exports.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from denoisplit.config.validation import parse
from denoisplit.files.tensors import read_tensors
from denoisplit.files.zip_file import read_zip
from denoisplit_zoo.archive import Contents, at
from denoisplit_zoo.exporting import weights
from denoisplit_zoo.exporting.graph import Splitter
from denoisplit_zoo.exporting.kinds import PACKAGE_KINDS
from denoisplit_zoo.exporting.source_file import architecture_source
from denoisplit_zoo.schema import GraphArguments

MOST_MEMBERS, MOST_BYTES = 100_000, 2**29  # of a TorchScript file
LEAST_BYTES = 5000  # of a program for each sample; twice as many in the smallest network
ADDED_CLASSES = b"torch.classes"  # of the libraries, with code of their own

GRAPHS: dict[str, type[Splitter]] = {
    kind.graph.__name__: kind.graph
    for of_map in PACKAGE_KINDS.values()
    for kind in (of_map, of_map.without_map)
    if kind is not None
}


def familiar_formats(package: Contents) -> set[str]:
    """Return the weight formats whose programs are those that this installation exports."""
    graph = familiar_graph(package)
    formats = set() if graph is None else {"pytorch_state_dict"}
    for name, export, program in (
        ("torchscript", weights.torchscript, torchscript_program),
        ("onnx", weights.onnx, onnx_program),
    ):
        data = package.files.get(at(package.description, "weights", name, "source"))
        if graph is None or data is None:
            continue
        try:
            given = program(data)
            # an export of many samples takes long, and is not made for a program of few
            if len(given) > LEAST_BYTES * getattr(graph, "samples", 0):
                formats |= {name} if given == program(export(graph)) else set()
        except ValueError:
            continue  # reported by the rules
    return formats


def own_architecture(package: Contents) -> dict[str, Any]:
    """Return the entry of the architecture of a package, with arguments that were checked.

    Raises
    ------
    ValueError
        If it is not one of this release.
    """
    entry = at(package.description, "weights", "pytorch_state_dict", "architecture") or {}
    own = architecture_source().encode()
    if package.files.get(entry.get("source", "")) != own or entry["callable"] not in GRAPHS:
        raise ValueError("this architecture is of another release")
    arguments = parse(GraphArguments, entry.get("kwargs", {}), entry["source"])
    return {
        "source": entry["source"],
        "sha256": hashlib.sha256(own).hexdigest(),
        "callable": entry["callable"],
        "kwargs": arguments.model_dump(mode="json", exclude_unset=True),
    }


def familiar_graph(package: Contents) -> Splitter | None:
    """Build the graph of a package from its description and state dict; None if it is not ours."""
    try:
        entry = own_architecture(package)
        source = package.description["weights"]["pytorch_state_dict"]["source"]
        state: Mapping[str, Tensor] = read_tensors(package.files[source])
        make = GRAPHS[entry["callable"]]
        with torch.device("meta"):  # no memory is used before the sizes are compared
            weights.check_sizes(make(**entry["kwargs"]), state)
        graph = make(**entry["kwargs"])
        graph.load_state_dict(state)
    except (ValueError, TypeError, LookupError, RuntimeError, AttributeError):
        return None
    return graph.eval().requires_grad_(False)


def torchscript_program(data: bytes) -> bytes:
    """Return the files of code in a TorchScript file with their names, one after another.

    Raises
    ------
    ValueError
        If the file is damaged or compressed, or its data are of classes of a library.
    """
    files = read_zip(
        io.BytesIO(data),
        most_files=MOST_MEMBERS,
        most_bytes=MOST_BYTES,
        wanted=lambda name: name.lower().endswith((".py", ".pkl")),  # torch ignores case
        packed=False,
    )
    if any(ADDED_CLASSES in content for content in files.values()):
        raise ValueError("it has data of other classes")
    code = {name: content for name, content in files.items() if name.lower().endswith(".py")}
    return b"\0".join(part for name in sorted(code) for part in (name.encode(), code[name]))


def onnx_program(data: bytes) -> bytes:
    """Return an ONNX file without the values of its weights, which differ between processors.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    import onnx

    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf raises types that it does not export
        raise ValueError(str(error)) from None
    constants = (a.t for node in model.graph.node for a in node.attribute if a.HasField("t"))
    for tensor in (*model.graph.initializer, *constants):
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    program: bytes = model.SerializeToString(deterministic=True)
    return program
