"""The package file: a zip archive, with equal bytes for equal contents.

Reading a package executes nothing in it.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from denoisplit.config.validation import parse
from denoisplit.errors import InputError
from denoisplit.files.yaml_file import parse_yaml
from denoisplit.files.zip_file import read_zip
from denoisplit_zoo.schema import PLAIN_NAME, Description

DESCRIPTION = "rdf.yaml"
DEFLATED = (".npy", ".tif", ".yaml", ".md", ".json", ".py")  # the others are compressed already
LOOKED_UP = ("maintainers", "git_repo", "id", "id_emoji", "uploader")  # on the internet
MOST_FILES = 2048
MOST_BYTES = 2**29  # of all files together; the largest are test images of many samples


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive of the files, the description first."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files, key=lambda name: (name != DESCRIPTION, name)):
            entry = zipfile.ZipInfo(name)  # dated 1980
            deflated = name.endswith(DEFLATED)
            entry.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


@dataclass(frozen=True)
class Contents:
    """Files of a package by name, and its parsed description."""

    path: Path
    files: Mapping[str, bytes]
    description: Mapping[str, Any]

    @property
    def facts(self) -> Mapping[str, Any]:
        """The section ``config.denoisplit``, which only this project reads."""
        facts = self.description["config"]["denoisplit"]
        assert isinstance(facts, Mapping)  # checked by read_package
        return facts

    def references(self) -> Iterator[tuple[str, str | None]]:
        """Yield the files that the description refers to, each with its SHA-256 or None."""
        for value in (self.description.get("documentation"), *self.description.get("covers", ())):
            if isinstance(value, str):
                yield value, None
        yield from _sources({k: v for k, v in self.description.items() if k != "config"})

    @cached_property
    def changed(self) -> list[str]:
        """Files whose SHA-256 differs from the one in the description."""
        return [
            name
            for name, expected in self.references()
            if expected is not None
            and name in self.files
            and hashlib.sha256(self.files[name]).hexdigest() != expected
        ]


def read_package(path: str | Path) -> Contents:
    """Read a package of this project.

    Raises
    ------
    InputError
        If the file is missing, damaged, too large, not a zip archive, a package of another program,
        or its description has entries that this project does not write.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise unusable("this is not a file", path)
    try:
        with path.open("rb") as stream:
            files = read_zip(stream, most_files=MOST_FILES, most_bytes=MOST_BYTES)
    except OSError as error:
        raise InputError(
            f"this package cannot be read ({error.strerror})",
            where=path,
            remedy="check the file name and the permissions",
        ) from None
    except ValueError as error:
        raise unusable(f"this is not an intact zip archive ({error})", path) from None
    for name in files:
        if not re.fullmatch(PLAIN_NAME, name):
            raise unusable(f"a file cannot be named {ascii(name)[:100]} in a package", path)
    if DESCRIPTION not in files:
        raise unusable(f"this archive contains no {DESCRIPTION}", path)
    where = f"{path}, {DESCRIPTION}"
    description = parse_yaml(files[DESCRIPTION], where)
    if not isinstance(at(description, "config", "denoisplit"), dict):
        raise unusable("this package was not made by denoisplit", path)
    parse(Description, description, where)
    return Contents(path, files, description)


def unusable(problem: str, where: str | Path) -> InputError:
    """Return the error of a damaged package, or of one that this project did not write."""
    remedy = "provide a package written by `denoisplit export`"
    return InputError(problem, where=where, remedy=remedy)


def _sources(value: Any) -> Iterator[tuple[str, str | None]]:
    """Yield every ``source`` of nested mappings and lists, with its SHA-256."""
    if isinstance(value, dict):
        if isinstance(value.get("source"), str):
            yield value["source"], value.get("sha256")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _sources(item)


def at(value: Any, *keys: str) -> Any:
    """Return a value inside nested mappings, None if a key is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def mappings(value: Any) -> list[dict[str, Any]]:
    """Return the mappings in a list of a description, which may hold anything."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def offline(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description without the entries that bioimageio.spec looks up on the internet.

    Without a connection the library stops at a GitHub account, although the package is valid.
    """
    kept = {k: v for k, v in description.items() if k not in LOOKED_UP}
    for key in {"authors", "packaged_by"} & kept.keys():
        kept[key] = [{k: v for k, v in p.items() if k != "github_user"} for p in kept[key]]
    return kept


def validate(files: Mapping[str, bytes], where: str | Path) -> None:
    """Check description and files of a package with bioimageio.spec, without network access.

    Raises
    ------
    InputError
        With the first error that the library reports; ``where`` is the file that it names.
    """
    from bioimageio.spec import InvalidDescr, ValidationContext, build_description

    with zipfile.ZipFile(io.BytesIO(pack(files))) as opened:
        context = ValidationContext(
            root=opened,
            file_name=DESCRIPTION,
            perform_io_checks=True,
            log_warnings=False,
            progressbar=False,
        )
        values = offline(yaml.safe_load(files[DESCRIPTION]))
        description = build_description(values, context=context)
    if isinstance(description, InvalidDescr):
        error = next(e for detail in description.validation_summary.details for e in detail.errors)
        place = ".".join(str(part) for part in error.loc)
        problem = f"bioimageio.spec rejects {place}: {error.msg}"
        raise InputError(problem, where=where, remedy="correct this entry")
