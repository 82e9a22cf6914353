"""Whatever the metadata of a Zarr hold: one line, and nothing runs or is allocated."""

from __future__ import annotations

import json
import operator
import pickle
import re
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from denoisplit.errors import InputError
from denoisplit.images import read_image
from denoisplit.images.formats.zarr import MOST_CHUNK, open_zarr
from denoisplit.images.formats.zarr_write import about_zarr, create_ome_zarr

PIXELS = np.arange(16 * 20, dtype=np.uint16).reshape(16, 20)


@pytest.fixture
def array(tmp_path: Path) -> Path:
    path = tmp_path / "a.zarr"
    stored = zarr.create_array(str(path), shape=(16, 20), chunks=(8, 10), dtype="u2", zarr_format=2)
    stored[:] = PIXELS
    return path


@pytest.fixture
def group(tmp_path: Path) -> Path:
    path = tmp_path / "g.ome.zarr"
    sizes = {"c": 2, "y": 8, "x": 8}
    create_ome_zarr(
        path, sizes, channels=["A", "B"], chunk=(8, 8), pixel_size_um={}, about={"a": 1}
    )
    return path


def refusal(path: Path, read: Callable[[Path], Any] = open_zarr) -> str:
    with pytest.raises(InputError, match=r"\A[^\n]+\.zarr[^\n]*: [^\n]+; [^\n]+\Z") as error:
        read(path)
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"order": float("nan")}, "got nan"),
        ({"shape": [10**9, 10**9]}, "is too large"),
        ({"shape": [10**400, 2]}, "does not fit into 64 bits"),
        ({"shape": [-1, 20]}, ""),
        ({"shape": [16.5, 20]}, ""),
        ({"shape": [0, 20]}, "more real numbers"),
        ({"chunks": [MOST_CHUNK, 2]}, "is too large"),
        ({"chunks": [0, 0]}, ""),
        ({"chunks": "ab"}, ""),
        ({"dtype": "|O"}, ""),
        ({"dtype": "<U10000000"}, ""),
        ({"dtype": [["a", "<u2"]]}, ""),
        ({"fill_value": "x" * 1000}, ""),
        ({"compressor": {"id": "pickle"}}, "pickle"),
        ({"filters": [{"id": "delta", "dtype": "<u2"}, {"id": "pickle"}]}, ""),
        ({"filters": [{"id": "pickle"}]}, ""),
        ({"compressor": {"id": "nosuch"}}, ""),
        ({"dimension_separator": 7}, ""),
        ({"zarr_format": 99}, ""),
    ],
    ids=map(str, count()),
)
def test_metadata_of_an_array(array: Path, changes: dict[str, Any], says: str) -> None:
    file = array / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    assert says in refusal(array)


RAW = re.compile(r"object|NoneType|\(\)|subscript|int\b")  # of exceptions of Python
TEXTS = (b"", b"[" * 100_000, b'{"a": "\xff"}', b'{"a": "\\ud800"}', b'{"a": 1, "a": 2}', b"[]")


@pytest.mark.parametrize("text", [*TEXTS, b" " * 2**25], ids=map(str, count()))
@pytest.mark.parametrize("name", [".zattrs", "0/.zarray", ".zgroup", "zarr.json"])
def test_files_that_hold_no_metadata(group: Path, name: str, text: bytes) -> None:
    (group / name).write_bytes(text)
    refusal(group)
    if "0/" not in name:
        refusal(group, about_zarr)


@pytest.mark.parametrize(
    "attributes",
    [
        {"multiscales": 3},
        {"multiscales": [3]},
        {"multiscales": [{"datasets": [{"path": "../g.ome.zarr/0"}]}]},
        {"multiscales": [{"datasets": [{"path": "/etc"}]}]},
        {"multiscales": [{"datasets": [{"path": "0"}], "axes": 7}]},
        {"multiscales": [{"datasets": [{"path": "0"}], "axes": "cyx"}], "omero": 3},
        {"ome": 3},
    ],
    ids=map(str, count()),
)
def test_attributes_of_a_group(group: Path, attributes: dict[str, Any]) -> None:
    (group / ".zattrs").write_text(json.dumps(attributes))
    refusal(group)


@pytest.mark.parametrize(
    "omero",
    [3, [], "x", {"channels": 3}, {"channels": [3, None]}, {"channels": [{"label": {}}, {}]},
     {"channels": [{"label": "A", "color": 3}, {"label": [], "color": {}}], "rdefs": 1}],
    ids=map(str, count()),
)  # fmt: skip
def test_damaged_channels_are_unknown(group: Path, omero: Any) -> None:
    file = group / ".zattrs"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"omero": omero}))
    image = open_zarr(group)
    assert image.sizes == {"c": 2, "y": 8, "x": 8} and image.colours == ()
    assert image.channels == ("A" if "'A'" in str(omero) else "channel 1", "channel 2")


@pytest.mark.parametrize("value", [3, None, "x", [3], {"a": 1}, True], ids=map(str, count()))
def test_values_of_the_wrong_type_are_unknown_or_one_plain_line(group: Path, value: Any) -> None:
    """Each value of the attributes in turn; axes decide about planes, so they are refused."""
    file = group / ".zattrs"
    whole = json.loads(file.read_text())

    def places(entry: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        for key in entry if isinstance(entry, dict) else range(len(entry)):
            yield (*way, key)
            if isinstance(entry[key], dict | list):
                yield from places(entry[key], (*way, key))

    for *way, last in places(whole):
        changed = json.loads(json.dumps(whole))
        reduce(operator.getitem, way, changed)[last] = value
        file.write_text(json.dumps(changed))
        path = "/".join(map(str, [*way, last]))
        try:
            assert open_zarr(group).sizes == {"c": 2, "y": 8, "x": 8}, path
        except InputError as error:
            line = str(error)
            if not path.startswith("multiscales") or "coord" in path or RAW.search(line):
                raise


def test_attributes_may_hold_nan(group: Path) -> None:
    file = group / ".zattrs"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"window": float("nan")}))
    assert open_zarr(group).sizes == {"c": 2, "y": 8, "x": 8}
    assert about_zarr(group) == {"a": 1}


def test_chunks_are_never_unpickled(array: Path, tmp_path: Path) -> None:
    class Call:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return Path.touch, (tmp_path / "CANARY",)

    file = array / ".zarray"
    values = json.loads(file.read_text())
    (array / "0.0").write_bytes(pickle.dumps(Call()))
    for codecs in ({"compressor": {"id": "pickle"}}, {"filters": [{"id": "pickle"}]}):
        file.write_text(json.dumps(values | {"compressor": None} | codecs))
        refusal(array, read_image)
    assert not (tmp_path / "CANARY").exists()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_usual_codecs_are_read(tmp_path: Path, zarr_format: Any) -> None:
    for number, more in enumerate([{}, {"compressors": None}, {"shards": (8, 20)}]):
        if "shards" in more and zarr_format == 2:
            continue
        path = tmp_path / f"{number}.zarr"
        stored = zarr.create_array(
            str(path), shape=(16, 20), chunks=(4, 5), dtype="u2", zarr_format=zarr_format, **more
        )
        stored[:] = PIXELS
        assert np.array_equal(read_image(path).values, PIXELS)
