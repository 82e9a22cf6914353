"""TorchScript files with equal bytes for equal graphs, without paths of source files."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile

CODE, PICKLED_CODE = "code/", ".debug_pkl"  # the latter names source files
DATA, IDENTIFIER = "data.pkl", ".data/serialization_id"
CLASS = re.compile(rb"^class (\w+)", re.MULTILINE)
NAME = re.compile(rb"__torch__[\w.]*")  # of a class, in code
METHOD = re.compile(rb"^(?=  def )", re.MULTILINE)
TEMPORARY = re.compile(rb"(?<![\w.\"])_\d+\b")  # a value without a name, in code
PICKLED_NAME = re.compile(rb"c(__torch__[\w.]*)\n(\w+)\n")  # the same in a pickle


def reproducible(archive: bytes) -> bytes:
    """Return a file of ``torch.jit.save`` that does not depend on what was traced before.

    The names of classes count all classes of the process, ``___torch_mangle_N``, and those that are
    new to it share source files. Here each has its own, classes and values are counted within the
    file and the method, in order, and the identifier derives from the content.
    """
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        entries = {entry.filename: opened.read(entry) for entry in opened.infolist()}
    root = next(name for name in entries if name.endswith(f"/{DATA}")).removesuffix(DATA)
    code = _classes(entries, root + CODE)
    names = [b".".join(found) for found in PICKLED_NAME.findall(entries[root + DATA])]
    order = [name for name in dict.fromkeys([*names, *code]) if name in code]
    renamed = {name: _renamed(name, number) for number, name in enumerate(order)}

    def in_code(match: re.Match[bytes]) -> bytes:
        return b".".join(renamed.get(match[0], (match[0],)))

    def in_pickle(match: re.Match[bytes]) -> bytes:
        return b"c%s\n%s\n" % renamed.get(b".".join(match.groups()), match.groups())

    contents: dict[str, bytes] = {
        name: PICKLED_NAME.sub(in_pickle, content) if name.endswith(".pkl") else content
        for name, content in entries.items()
        if not name.startswith(root + CODE) and name != root + IDENTIFIER
    }
    for full_name in order:
        file = renamed[full_name][0].decode().replace(".", "/")
        contents[f"{root}{CODE}{file}.py"] = NAME.sub(in_code, code[full_name])
    contents[root + IDENTIFIER] = _identifier(contents)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as new:
        for name, content in contents.items():
            new.writestr(zipfile.ZipInfo(name), content)  # dated 1980
    return stream.getvalue()


def _classes(entries: dict[str, bytes], folder: str) -> dict[bytes, bytes]:
    """Return the code of each class by its full name; files hold one class or several."""
    classes = {}
    for file, text in entries.items():
        if file.startswith(folder) and not file.endswith(PICKLED_CODE):
            module = file.removeprefix(folder).removesuffix(".py").replace("/", ".").encode()
            starts = [match.start() for match in CLASS.finditer(text)]
            for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
                part = text[start:end]
                name = module + b"." + CLASS.findall(part)[0]
                classes[name] = b"".join(map(_counted, METHOD.split(part)))
    return classes


def _counted(method: bytes) -> bytes:
    """Count the values without a name in the code of a method, in order."""
    numbers = {value: n for n, value in enumerate(dict.fromkeys(TEMPORARY.findall(method)))}
    return TEMPORARY.sub(lambda match: b"_%d" % numbers[match[0]], method)


def _renamed(name: bytes, number: int) -> tuple[bytes, bytes]:
    """Return module and name of a class under its number in the file."""
    *module, name = name.split(b".")
    kept = [part for part in module if not part.startswith(b"___torch_mangle_")]
    return b".".join([*kept, b"___torch_mangle_%d" % number]), name


def _identifier(contents: dict[str, bytes]) -> bytes:
    """Return an identifier of 40 digits, as torch writes it."""
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    return b"%040d" % (int(digest.hexdigest(), 16) % 10**40)
