"""Files of tensors are read as data: nothing runs, and nothing is larger than the file says."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as save_safetensors

from denoisplit.errors import InputError
from denoisplit.files.tensors import (
    MOST_HEADER,
    read_checkpoint,
    read_safetensors,
    read_tensors,
)

MANY = 10**11


class Call:
    """An object that is pickled as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.pair = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.pair


class Stored:
    """A storage of so many float32 values, in the file ``data/0``."""

    def __init__(self, values: int) -> None:
        self.values = values


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def archive(value: Any, method: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """An archive like those of torch.save, of any pickled value."""
    stream = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if isinstance(obj, Stored):
                return ("storage", torch.FloatStorage, "0", "cpu", obj.values)
            return None

    Pickler(stream, 2).dump(value)
    files = {"data.pkl": stream.getvalue(), "byteorder": b"little", "data/0": bytes(12)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as opened:
        for name, content in {**files, "version": b"3\n", **more}.items():
            opened.writestr(f"archive/{name}", content)
    return stream.getvalue()


def tensor(values: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Call:
    rebuild = torch._utils._rebuild_tensor_v2  # type: ignore[attr-defined]
    return Call(rebuild, Stored(values), 0, shape, stride, False, OrderedDict())


def nested(levels: int) -> list[Any]:
    """Lists of nine times the list before: few bytes, 9 ** levels values."""
    value: list[Any] = [0]
    for _ in range(levels):
        value = [value] * 9
    return value


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def test_plain_values_and_tensors() -> None:
    value = {"a": torch.arange(6).reshape(2, 3), "b": [1, 2.5, None, "c"], "d": {"e": (True,)}}
    value["w"] = OrderedDict(f=torch.nn.Parameter(torch.ones(2)), h=torch.ones(3).half())
    read = read_tensors(saved(value))
    assert read["b"] == value["b"]
    assert read["d"] == value["d"]
    assert torch.equal(read["a"], value["a"])
    assert torch.equal(read["w"]["f"], torch.ones(2))
    assert torch.equal(read_tensors(archive({"a": tensor(3, (3,), (1,))}))["a"], torch.zeros(3))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: archive(Call(print, "x")), "another type (__builtin__ print)"),
        (lambda: archive(Call(bytearray, MANY)), "another type (__builtin__ bytearray)"),
        (lambda: archive(Call(torch.Tensor, MANY)), "another type (torch Tensor)"),
        (lambda: archive({"a": tensor(3, (MANY,), (0,))}), "larger than the file"),
        (lambda: archive({"a": tensor(3, (MANY,), (1,))}), ""),
        (lambda: archive({"a": tensor(MANY, (MANY,), (1,))}), ""),
        (lambda: archive({"a": tensor(3, (-3,), (1,))}), ""),
        (lambda: archive(nested(9)), "more than 1000000 values"),
        (lambda: archive(cycle()), "more than 1000000 values"),
        (lambda: archive({"a": 1}, zipfile.ZIP_DEFLATED), "compressed"),
        (lambda: archive({"a": 1}, zipfile.ZIP_LZMA), "compressed"),
        (lambda: archive({"a": 1}, **{"b/data.pkl": b"N."}), "no archive of torch.save"),
        (lambda: archive({"a": 1}).replace(b"data.pkl", b"data.pk_"), "no archive of torch.save"),
        (lambda: saved({"a": torch.ones(9)})[:-30], "zip archive"),
        (lambda: b"", "zip archive"),
        (lambda: pickle.dumps({"a": 1}), "zip archive"),
        (lambda: archive({"a": 2 ** (8 * 3000)}), ""),
    ],
    ids=map(str, count()),
)
def test_hostile_archives_are_one_line(make: Callable[[], bytes], says: str) -> None:
    with pytest.raises(ValueError, match=r"\A.+\Z") as error:
        read_tensors(make())
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ([1], "no state_dict"),
        ({"state_dict": 3}, "no state_dict"),
        ({"state_dict": {"w": torch.tensor([1.0, torch.nan])}}, "w has values that are not finite"),
        ({"state_dict": {"w": torch.tensor(torch.inf)}}, "w has values that are not finite"),
        (None, "no such file"),
    ],
)
def test_a_checkpoint_holds_finite_weights(tmp_path: Path, state: Any, says: str) -> None:
    path = tmp_path / "last.ckpt"
    if state is not None:
        path.write_bytes(saved(state))
    with pytest.raises(InputError, match=r"last\.ckpt: .+; copy it again") as error:
        read_checkpoint(path)
    assert says in str(error.value)


def test_moments_of_a_checkpoint_may_overflow(tmp_path: Path) -> None:
    state = {"state_dict": {"norm.running_var": torch.tensor(torch.inf)}, "best": torch.inf}
    (tmp_path / "last.ckpt").write_bytes(saved(state))
    assert read_checkpoint(tmp_path / "last.ckpt")["best"] == torch.inf


def safetensors(header: bytes, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + content


def entry(shape: list[int], end: int, dtype: str = "F32") -> bytes:
    return json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ""),
        (safetensors(entry([MANY], 4 * MANY)), ""),
        (safetensors(entry([MANY], 12), bytes(12)), ""),
        (safetensors(entry([3], 12), bytes(4)), ""),
        (safetensors(b"[" * 100_000), ""),
        (safetensors(b" " * (MOST_HEADER + 1)), "header has more than"),
        (struct.pack("<Q", 2**63), "header has more than"),
        (safetensors(b'{"a": "\xff"}'), ""),
        (safetensors(entry([3], 24, "F64"), bytes(24)), "of type torch.float64"),
        (safetensors(entry([1], 4), struct.pack("<f", float("nan"))), "not finite numbers"),
        (save_safetensors({"a": torch.tensor([torch.inf])}), "not finite numbers"),
    ],
    ids=map(str, count()),
)
def test_hostile_safetensors_are_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"\A.+\Z") as error:
        read_safetensors(path)
    assert says in str(error.value)


def test_safetensors(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2, 3), "b": torch.tensor(3)}
    (tmp_path / "a").write_bytes(save_safetensors(tensors))
    read = read_safetensors(tmp_path / "a")
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
