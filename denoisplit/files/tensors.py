"""Reading of ``torch.save`` and safetensors files, which executes nothing, in bounded memory."""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from denoisplit.errors import InputError, reason_of
from denoisplit.files.bounded import MOST_NODES, MOST_TEXT, read_bytes
from denoisplit.files.zip_file import read_zip

MOST_FILES = 20_000  # in an archive: one per tensor
MOST_BYTES = 2**33  # of a file
MOST_HEADER = 2**21  # bytes of the names and shapes in a safetensors file
PICKLED = "/data.pkl"  # values of a torch.save archive; the other files are the tensors
# what plain values and tensors are made of; torch allows more, some of which allocates memory
ALLOWED = re.compile(
    "collections OrderedDict|torch (Size|device)|torch._utils _rebuild_(parameter|tensor_v2)"
    "|torch (Double|Float|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
)


def read_tensors(data: bytes) -> Any:
    """Read tensors and plain values of a ``torch.save`` file.

    Raises
    ------
    ValueError
        With one line, if the data are damaged, of other types, or describe more than they hold.
    """
    try:
        _check_pickle(data)
        values = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        _check_values(values, len(data))
    except Exception as error:  # of pickle, zipfile or torch
        raise ValueError(reason_of(error)[:120]) from None
    return values


def read_checkpoint(path: Path, weights: str = "state_dict") -> dict[str, Any]:
    """Read the checkpoint of an interrupted training.

    Parameters
    ----------
    path : Path
    weights : str
        Key of the weights, which must be finite.

    Raises
    ------
    InputError
        If it is unreadable.
    """
    remedy = "copy it again, or remove it to start the training from the beginning"
    data = read_bytes(path, MOST_BYTES, "a checkpoint", remedy)
    try:
        state = read_tensors(data)
        if not isinstance(state, dict) or not isinstance(state.get(weights), Mapping):
            raise ValueError(f"it holds no {weights}")
        # moments of a batch that overflowed are replaced by later ones
        check_finite({k: v for k, v in state[weights].items() if "running_" not in str(k)})
    except ValueError as error:
        problem = f"this checkpoint is unreadable ({error})"
        raise InputError(problem, where=path, remedy=remedy) from None
    return state


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, whose values must be finite.

    Raises
    ------
    InputError
        If the file is unreadable.
    ValueError
        With one line, if it is damaged or has values that are not finite.
    """
    data = read_bytes(path, MOST_BYTES, "weights", "copy the run again")
    if int.from_bytes(data[:8], "little") > MOST_HEADER:
        raise ValueError(f"its header has more than {MOST_HEADER} bytes")
    try:
        tensors: dict[str, Tensor] = load_safetensors(data)
    except Exception as error:  # of safetensors, or torch for types that it does not know
        raise ValueError(reason_of(error)[:120]) from None
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.int64):
            raise ValueError(f"{name[:60]} is of type {tensor.dtype}")
    check_finite(tensors)
    return tensors


def check_finite(tensors: Mapping[Any, Any]) -> None:
    """Refuse tensors with values that are not finite.

    Raises
    ------
    ValueError
    """
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and not torch.isfinite(tensor).all():
            raise ValueError(f"{str(name)[:60]} has values that are not finite numbers")


def _check_pickle(data: bytes) -> None:
    """Refuse an archive that is damaged or compressed, or whose values are of other types."""
    files = read_zip(
        io.BytesIO(data),
        most_files=MOST_FILES,
        most_bytes=MOST_BYTES,
        wanted=lambda name: name.endswith(PICKLED),
        packed=False,  # the files would be larger than the archive
    )
    if len(files) != 1:
        raise ValueError("it is no archive of torch.save")
    (pickled,) = files.values()
    if len(pickled) > MOST_TEXT:
        raise ValueError(f"its values have more than {MOST_TEXT} bytes")
    for operation, name, _ in pickletools.genops(pickled):
        if "GLOBAL" in operation.name and not ALLOWED.fullmatch(str(name)):
            raise ValueError(f"it holds values of another type ({str(name)[:60]})")


def _check_values(value: Any, most_bytes: int) -> None:
    """Refuse too many values, and tensors whose shape is larger than the file."""
    level, nodes = [value], 1
    while level:
        inner: list[Any] = []
        for outer in level:
            if isinstance(outer, Tensor) and outer.numel() * outer.element_size() > most_bytes:
                raise ValueError(f"a tensor of shape {tuple(outer.shape)} is larger than the file")
            if isinstance(outer, Mapping):
                inner += [*outer.keys(), *outer.values()]
            elif isinstance(outer, list | tuple | set):
                inner += outer
            nodes += len(inner)
            if nodes + len(inner) > MOST_NODES:
                raise ValueError(f"it holds more than {MOST_NODES} values")
        level, nodes = inner, nodes + len(inner)
