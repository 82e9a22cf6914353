"""No package makes ``denoisplit check`` or ``import`` run, read or fetch what it names."""

from __future__ import annotations

import io
import pickle
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from denoisplit_zoo import check, import_package
from denoisplit_zoo.archive import pack, read_package
from denoisplit_zoo.checking import check as checking
from denoisplit_zoo.checking import programs
from denoisplit_zoo.checking import rules as checks
from denoisplit_zoo.checking.images import cover_size, read_sample_tensor, read_test_tensor
from denoisplit_zoo.checking.prepared import for_bioimageio
from PIL import Image

from denoisplit.errors import InputError

from ..conftest import contents
from .test_check import Files, spoiled

Described = dict[str, Any]
Spoil = Callable[[Files, Described], None]

CODE = b"open('CANARY', 'w').close()\n"


class Canaries:
    """Connections and runs that a package has caused."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def call(self, *arguments: Any, **_: Any) -> Any:
        self.calls.append(repr(arguments)[:200])
        raise OSError("a canary")


@pytest.fixture(autouse=True)
def canaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canaries]:
    """An empty folder to work in, without network and bioimageio; nothing may be in it after."""
    watched = Canaries()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(socket.socket, "connect", watched.call)
    monkeypatch.setattr(socket, "getaddrinfo", watched.call)
    monkeypatch.setattr(checking, "run_bioimageio", watched.call)
    monkeypatch.setattr(checking, "look_up_accounts", lambda _: ([], []))
    yield watched
    assert watched.calls == []
    assert list(tmp_path.rglob("*CANARY*")) == list((tmp_path / "here").iterdir()) == []


ADDRESSES = (
    "http://127.0.0.1:9/CANARY.py",
    "https://user@localhost/weights.pt",
    "file:///etc/passwd",
    "/etc/passwd",
    "../CANARY.pt",
    "..\\CANARY.pt",
    "C:\\CANARY.pt",
    "\\\\server\\share\\CANARY.pt",
    "folder/weights.pt",
    "10.5281/zenodo.6334383",
    "huggingface/user/model",
    "weights.pt\n",
    "",
    {"source": "weights.pt"},
    ["weights.pt"],
    None,
)
# places of the description that name files
FILES = {
    "state dict": ("weights", "pytorch_state_dict", "source"),
    "architecture": ("weights", "pytorch_state_dict", "architecture", "source"),
    "torchscript": ("weights", "torchscript", "source"),
    "onnx": ("weights", "onnx", "source"),
    "test": ("inputs", 0, "test_tensor", "source"),
    "sample": ("inputs", 0, "sample_tensor", "source"),
    "documentation": ("documentation",),
    "cover": ("covers", 0),
    "attachment": ("attachments", 0, "source"),
}


def put(*place: str | int, value: Any) -> Spoil:
    """Set one entry of the description."""

    def spoil(_: Files, described: Described) -> None:
        at: Any = described
        for key in place[:-1]:
            at = at.setdefault(key, {}) if isinstance(at, dict) else at[key]
        at[place[-1]] = value

    return spoil


@pytest.fixture(scope="module")
def described(package: Path) -> str:
    return contents(package)["rdf.yaml"].decode()


@pytest.fixture
def refused(described: str, tmp_path: Path) -> Callable[[Spoil, str], None]:
    """Compare the error of a changed description; other files are not read before it."""

    def compare(spoil: Spoil, words: str) -> None:
        changed = yaml.load(described, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        spoil({}, changed)
        bad = tmp_path / "bad.zip"
        bad.write_bytes(pack({"rdf.yaml": yaml.safe_dump(changed).encode()}))
        for use in (
            lambda: check(bad),
            lambda: check(bad, run_code=True),
            lambda: import_package(bad, tmp_path / "run"),
        ):
            with pytest.raises(InputError) as caught:
                use()
            text = str(caught.value)
            assert text.startswith(f"{bad}, rdf.yaml: ") and words in text
            assert text.isprintable() and len(text) < 600

    return compare


Refused = Callable[[Spoil, str], None]


@pytest.mark.parametrize("place", FILES.values(), ids=FILES)
def test_files_are_named_and_never_addresses(
    refused: Refused, place: tuple[str | int, ...]
) -> None:
    key = next(str(part) for part in reversed(place) if isinstance(part, str))
    for address in ADDRESSES:
        if isinstance(address, dict) and key in ("documentation", "covers"):
            continue  # an entry with a file name
        if address is None and key == "documentation":
            continue  # none at all
        refused(put(*place, value=address), key)
    if key in ("documentation", "covers"):
        refused(put(*place, value={"source": ADDRESSES[0]}), key)


STATE_DICT = ("weights", "pytorch_state_dict")
FILE = {"source": "http://127.0.0.1:9/CANARY", "sha256": "0" * 64}
SYSTEM = {"import_from": "os", "callable": "system", "kwargs": {"command": "touch CANARY"}}
CUSTOM = {"id": "custom", "callable": "run", "source": "architecture.py", "kwargs": {}}

ENTRIES: dict[str, tuple[Spoil, str]] = {
    "library": (put(*STATE_DICT, "architecture", value=SYSTEM), "import_from"),
    "library beside ours": (put(*STATE_DICT, "architecture", "import_from", value="os"), "import_"),
    "dotted callable": (put(*STATE_DICT, "architecture", "callable", value="os.system"), "call"),
    "word": (put(*STATE_DICT, "architecture", value="os.system"), "architecture"),
    "kwargs": (put(*STATE_DICT, "architecture", "kwargs", value=["a"]), "kwargs"),
    "old architecture": (put(*STATE_DICT, "kwargs", value={}), "kwargs"),
    "old hash": (put(*STATE_DICT, "architecture_sha256", value="0" * 64), "architecture_sha256"),
    "dependencies": (put(*STATE_DICT, "dependencies", value=FILE), "dependencies"),
    "conda": (put("dependencies", value="conda:environment.yaml"), "dependencies"),
    "pip": (put(*STATE_DICT, "dependencies", value="pip:requirements.txt"), "dependencies"),
    "envs": (put("config", "bioimageio", "envs", value=[FILE]), "envs"),
    "strict": (put(*STATE_DICT, "strict", value=False), "strict"),
    "version": (put(*STATE_DICT, "pytorch_version", value="git+http://127.0.0.1"), "pytorch_ver"),
    "external data": (put("weights", "onnx", "external_data", value=FILE), "external_data"),
    "keras": (put("weights", "keras_hdf5", value=FILE), "keras_hdf5"),
    "keras 3": (put("weights", "keras_v3", value=FILE), "keras_v3"),
    "tensorflow": (put("weights", "tensorflow_saved_model_bundle", value=FILE), "tensorflow"),
    "javascript": (put("weights", "tensorflow_js", value=FILE), "tensorflow_js"),
    "parent": (put("parent", value={"uri": "http://127.0.0.1:9"}), "parent"),
    "parent's weights": (put("weights", "onnx", "parent", value="http://127.0.0.1"), "parent"),
    "training data": (put("training_data", value={"id": "zenodo/1"}), "training_data"),
    "run mode": (put("run_mode", value={"name": "CANARY"}), "run_mode"),
    "icon": (put("icon", value="http://127.0.0.1:9/i.png"), "icon"),
    "badges": (put("badges", value=[{"url": "http://127.0.0.1:9"}]), "badges"),
    "links": (put("links", value=["imjoy/BioImageIO-Packager"]), "links"),
    "source": (put("source", value="http://127.0.0.1:9"), "source"),
    "download": (put("download_url", value="http://127.0.0.1:9"), "download_url"),
    "id": (put("id", value={"id": "affable-shark"}), "id"),
    "uploader": (put("uploader", value={"email": "a@b.org", "url": "http://a.b"}), "uploader"),
    "packaged by": (put("packaged_by", value=[{"name": "a", "url": "b"}]), "url"),
    "address to cite": (put("cite", 0, "url", value="http://127.0.0.1:9"), "url"),
    "author": (put("authors", 0, "url", value="http://127.0.0.1:9"), "url"),
    "old weights": (put("weights", "pytorch_script", value=FILE), "pytorch_script"),
    "other type": (put("type", value="application"), "type"),
    "other format": (put("format_version", value="0.4.10"), "format_version"),
    "newest format": (put("format_version", value="latest"), "format_version"),
    "custom before": (put("inputs", 0, "preprocessing", value=[CUSTOM]), "preprocessing"),
    "custom after": (put("outputs", 0, "postprocessing", value=[CUSTOM]), "postprocessing"),
    "stardist": (put("outputs", 0, "postprocessing", value=[{"id": "stardist_postprocessing"}]),
                 "postprocessing"),
    "evaluations": (put("config", "bioimageio", "evaluations", value=[FILE]), "evaluations"),
    "newer version": (put("config", "bioimageio", "new_version", value="a"), "new_version"),
    "other settings": (put("config", "stardist", value={"python": FILE}), "stardist"),
    "huge image": (put("inputs", 0, "axes", 2, "size", value=10**9), "at most 8192 px"),
    "other size": (put("inputs", 0, "axes", 2, "size", value={"min": FILE, "step": 1}), "size"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "words"), ENTRIES.values(), ids=ENTRIES)
def test_entries_that_export_does_not_write_are_refused(
    refused: Refused, spoil: Spoil, words: str
) -> None:
    refused(spoil, words)


def test_our_own_source_under_another_name_is_no_excuse(package: Path, tmp_path: Path) -> None:
    """A library's entry names no source file, and there is a file with the name None."""

    def spoil(files: Files, described: Described) -> None:
        files["None"] = files["architecture.py"]
        put(*STATE_DICT, "architecture", value=SYSTEM)(files, described)

    bad = spoiled(package, tmp_path / "bad.zip", spoil)
    for run_code in (False, True):
        with pytest.raises(InputError, match="unknown key .*architecture.import_from"):
            check(bad, run_code=run_code)


# ---------------------------------------------------------------- programs


@pytest.fixture
def exported(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of the package are those that this installation exports; see test_check."""
    files = contents(package)
    monkeypatch.setattr(programs.weights, "torchscript", lambda _: files["weights_torchscript.pt"])
    monkeypatch.setattr(programs.weights, "onnx", lambda _: files["weights.onnx"])
    monkeypatch.setattr(checks, "validate", lambda *_: None)  # takes seconds


def rewritten(archive: bytes, change: Callable[[str, bytes], bytes], **more: bytes) -> bytes:
    """A TorchScript file with other members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), change(name, old.read(name)))
        root = old.namelist()[0].partition("/")[0]
        for name, content in more.items():
            new.writestr(zipfile.ZipInfo(f"{root}/{name}"), content)
    return stream.getvalue()


def script(
    change: Callable[[str, bytes], bytes] = lambda _, content: content, **more: bytes
) -> Spoil:
    def spoil(files: Files, _: Described) -> None:
        name = "weights_torchscript.pt"
        files[name] = rewritten(files[name], change, **more)

    return spoil


def saving(name: str, content: bytes) -> bytes:
    if not name.endswith(".py"):
        return content
    return content.replace(b"    return ", b'    ops.aten.save(1, "CANARY")\n    return ', 1)


def endless(name: str, content: bytes) -> bytes:
    if not name.endswith(".py"):
        return content
    return content.replace(b"    return ", b"    while True:\n      pass\n    return ", 1)


def of_a_library(name: str, content: bytes) -> bytes:
    return content + b"__torch__.torch.classes.a.B" if name.endswith("data.pkl") else content


def graph(change: Callable[[Any], None]) -> Spoil:
    def spoil(files: Files, _: Described) -> None:
        model = onnx.load_from_string(files["weights.onnx"])
        change(model)
        files["weights.onnx"] = model.SerializeToString()

    return spoil


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def added_node(model: Any) -> None:
    model.graph.node.append(onnx.helper.make_node("Evil", ["input"], ["more"], domain="custom"))


def other_size(model: Any) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Constant")
    node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(np.array([10**11])))


class Evil:
    def __reduce__(self) -> Any:
        return open, ("CANARY", "w")


def pickled(files: Files, _: Described) -> None:
    stream = io.BytesIO()
    torch.save({"weights": Evil()}, stream)
    files["weights.pt"] = stream.getvalue()


def old_pickle(files: Files, _: Described) -> None:
    files["weights.pt"] = pickle.dumps(Evil())


def other_source(files: Files, _: Described) -> None:
    files["architecture.py"] += CODE


def kwargs(**values: Any) -> Spoil:
    def spoil(_: Files, described: Described) -> None:
        described["weights"]["pytorch_state_dict"]["architecture"]["kwargs"] |= values

    return spoil


ALL, STATE = {"pytorch_state_dict", "torchscript", "onnx"}, {"pytorch_state_dict"}
PROGRAMS: dict[str, tuple[Spoil, set[str]]] = {
    "nothing": (lambda *_: None, ALL),
    "script that writes": (script(saving), ALL - {"torchscript"}),
    "script without end": (script(endless), ALL - {"torchscript"}),
    "script of a library": (script(of_a_library), ALL - {"torchscript"}),
    "added class": (script(**{"code/evil.py": b"class Evil(Module):\n"}), ALL - {"torchscript"}),
    "in capitals": (script(**{"code/evil.PY": b"class Evil(Module):\n"}), ALL - {"torchscript"}),
    "no script": (lambda files, _: files.update({"weights_torchscript.pt": b"PK"}),
                  ALL - {"torchscript"}),
    "weights elsewhere": (graph(external), ALL - {"onnx"}),
    "added node": (graph(added_node), ALL - {"onnx"}),
    "other size": (graph(other_size), ALL - {"onnx"}),
    "no graph": (lambda files, _: files.update({"weights.onnx": b"\xff" * 100}), ALL - {"onnx"}),
    "pickle": (pickled, set()),
    "old pickle": (old_pickle, set()),
    "other source": (other_source, set()),
    "other class": (put(*STATE_DICT, "architecture", "callable", value="Split"), set()),
    "no class": (put(*STATE_DICT, "architecture", "callable", value="exec"), set()),
    "huge network": (kwargs(filters=10**9), set()),
    "larger network": (kwargs(filters=64), set()),
    "endless samples": (kwargs(samples=10**9), set()),
    "samples that the programs do not draw": (kwargs(samples=200), STATE),
    "unknown argument": (kwargs(command="touch CANARY"), set()),
    "argument of another type": (kwargs(patch={"a": 1}), set()),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "formats"), PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.usefixtures("exported")
def test_only_our_own_programs_are_run(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, formats: set[str]
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(checking, "_runs", lambda *some: ran.extend(some[2]) or iter(()))
    bad = spoiled(package, tmp_path / "bad.zip", spoil)
    result = check(bad)
    assert set(ran) == formats
    left_out = [name for name in ("pytorch_state_dict", "torchscript", "onnx") if name not in ran]
    assert [note.split(" w")[0] for note in result.notes] == (
        [", ".join(left_out)] if left_out else []
    )


def test_bioimageio_gets_our_own_entry_of_the_architecture(package: Path, tmp_path: Path) -> None:
    """With arguments of the right types, and the hash of our own source."""
    written = spoiled(package, tmp_path / "p.zip", kwargs(filters="8"))
    entry, ours = (
        read_package(p).description["weights"]["pytorch_state_dict"]["architecture"]
        for p in (written, package)
    )
    assert entry != ours == programs.own_architecture(read_package(written))
    assert b"filters: 8\n" in for_bioimageio(read_package(written))["rdf.yaml"]


def test_entries_of_the_zoo_are_not_passed_on(package: Path, tmp_path: Path) -> None:
    """A published package has a name in the collection, by which bioimageio would look it up."""

    def published(_: Files, described: Described) -> None:
        described |= {"id": "affable-shark", "id_emoji": "-", "uploader": {"email": "a@b.org"}}

    contents = read_package(spoiled(package, tmp_path / "p.zip", published))
    assert for_bioimageio(contents) == for_bioimageio(read_package(package))


# ---------------------------------------------------------------- images


def npy(header: bytes, values: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + values


def array(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "magic string"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000,)}\n"), "header"),
        (npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}\n", bytes(4)), "header"),
        (npy(b"[" * 60_000), "Header"),
        (array(np.array([Evil()])), "not of numbers"),
        (array(np.zeros(3)), "float64, not float32"),
        (array(np.array([1, np.nan], np.float32)), "NaN"),
    ],
)
def test_test_tensors_are_plain_numbers(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_test_tensor(data)
    assert "\n" not in str(caught.value)


def test_sample_tensors_are_uncompressed(package: Path) -> None:
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((64, 64), np.float32), compression="zlib")
    sample = contents(package)["sample_input.tif"]
    for data in (b"", b"II*\0", stream.getvalue(), sample[:200], sample[:-1000], sample[::-1]):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            read_sample_tensor(data, 96 * 96)


def test_covers_are_small_png_images() -> None:
    files = []
    for kind, side in (("PNG", 5000), ("TIFF", 8), ("EPS", 8), ("GIF", 8)):
        stream = io.BytesIO()
        Image.new("L", (side, side)).save(stream, kind)
        files.append(stream.getvalue())
    for data in (*files, b"", files[0][:20], files[0].replace(b"\0\0\x13\x88", b"\xff" * 4)):
        with pytest.raises(ValueError, match="not a PNG image|more than 4096 px"):
            cover_size(data)
