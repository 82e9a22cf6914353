"""The package file: a zip archive of named contents, equal bytes for equal contents.

Reading one executes nothing that lies in it.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from denoisplit.errors import InputError

DESCRIPTION = "rdf.yaml"
PACKED = (".npy", ".tif", ".yaml", ".md", ".json", ".py")  # the others are compressed already


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of all files, the description first."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files, key=lambda name: (name != DESCRIPTION, name)):
            entry = zipfile.ZipInfo(name)  # dated 1980
            packed = name.endswith(PACKED)
            entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


@dataclass(frozen=True)
class Contents:
    """What lies in a package: files by their names, and the description among them."""

    path: Path
    files: Mapping[str, bytes]
    description: Mapping[str, Any]

    @property
    def facts(self) -> Mapping[str, Any]:
        """What only this project reads."""
        found = self.description["config"]["denoisplit"]
        assert isinstance(found, Mapping)  # looked at when it was read
        return found

    def named(self) -> Iterator[tuple[str, str | None]]:
        """Files that the description names, each with the hash that it gives, if it does."""
        for value in (self.description.get("documentation"), *self.description.get("covers", ())):
            if isinstance(value, str):
                yield value, None
        without_facts = {k: v for k, v in self.description.items() if k != "config"}
        yield from _sources(without_facts)

    @cached_property
    def changed(self) -> list[str]:
        """Files that are not those which the description was written for."""
        return [
            name
            for name, expected in self.named()
            if expected is not None
            and name in self.files
            and hashlib.sha256(self.files[name]).hexdigest() != expected
        ]


def read_package(path: str | Path) -> Contents:
    """Read a package of this project.

    Raises
    ------
    InputError
        If the file is missing, damaged, no archive, or of something else.
    """
    path = Path(path)
    remedy = "give a package that `denoisplit export` wrote"
    try:
        with zipfile.ZipFile(path) as archive:
            files = {e.filename: archive.read(e) for e in archive.infolist() if not e.is_dir()}
    except OSError as error:
        raise InputError(
            where=path,
            found=f"no readable file ({error.strerror})",
            expected="a package",
            remedy="check name and rights",
        ) from None
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise InputError(
            where=path, found=f"no zip archive ({error})", expected="a package", remedy=remedy
        ) from None
    except Exception as error:  # zlib and struct have errors of their own
        raise InputError(
            where=path, found=f"a damaged archive ({error})", expected="a package", remedy=remedy
        ) from None
    if DESCRIPTION not in files:
        raise InputError(
            where=path,
            found=f"an archive without {DESCRIPTION}",
            expected="a package",
            remedy=remedy,
        )
    try:
        values = yaml.safe_load(files[DESCRIPTION])
        facts = values["config"]["denoisplit"]
        if not isinstance(facts, dict):
            raise TypeError
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            where=f"{path}, {DESCRIPTION}",
            found=f"no YAML ({reason})",
            expected="a description",
            remedy=remedy,
        ) from None
    except (TypeError, KeyError):
        raise InputError(
            where=path,
            found="a package of something else",
            expected="one of denoisplit, which says so in its config",
            remedy=remedy,
        ) from None
    return Contents(path, files, values)


def _sources(value: Any) -> Iterator[tuple[str, str | None]]:
    if isinstance(value, dict):
        if isinstance(value.get("source"), str):
            yield value["source"], value.get("sha256")
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _sources(inner)


def offline(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description without what the format's library looks up on the internet.

    Without a connection it stops at a GitHub account, with an error that is none of the package.
    """
    kept = {k: v for k, v in description.items() if k not in ("maintainers", "git_repo")}
    if isinstance(kept.get("authors"), list):
        kept["authors"] = [
            {k: v for k, v in author.items() if k != "github_user"}
            if isinstance(author, dict)
            else author
            for author in kept["authors"]
        ]
    return kept


def validate(archive: bytes, where: str | Path) -> None:
    """Let the format's own library check the description and the files, without network.

    Raises
    ------
    InputError
        With the first complaint.
    """
    from bioimageio.spec import InvalidDescr, ValidationContext, build_description

    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        values = offline(yaml.safe_load(opened.read(DESCRIPTION)))
        context = ValidationContext(
            root=opened,
            file_name=DESCRIPTION,
            perform_io_checks=True,
            log_warnings=False,
            progressbar=False,
        )
        found = build_description(values, context=context)
    if isinstance(found, InvalidDescr):
        error = next(e for detail in found.validation_summary.details for e in detail.errors)
        place = ".".join(str(part) for part in error.loc)
        raise InputError(
            where=where,
            found=f"{place}: {error.msg}",
            expected="a description that bioimage.io takes",
            remedy="correct it",
        )
