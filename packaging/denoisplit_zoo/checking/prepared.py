"""Packages as bioimageio gets them: nothing in them is downloaded, or imported by another name."""

from __future__ import annotations

import copy
from contextlib import suppress

import yaml

from denoisplit_zoo.archive import DESCRIPTION, Contents, offline
from denoisplit_zoo.checking.images import unreadable
from denoisplit_zoo.checking.programs import own_architecture


def unusable_files(package: Contents) -> str:
    """Return why bioimageio is not given a package; nothing if it is."""
    if package.changed:
        return "files were changed after the export"
    if any(name not in package.files for name, _ in package.references()):
        return "files are missing"
    return next(unreadable(package), "")


def for_bioimageio(package: Contents) -> dict[str, bytes]:
    """Return the files of a package as bioimageio gets them.

    Sample tensors, which equal the test tensors, are left out. The entry of this project's own
    source file, by which bioimageio imports it, is written anew.
    """
    description = copy.deepcopy(offline(package.description))
    for tensor in (*description.get("inputs", ()), *description.get("outputs", ())):
        tensor.pop("sample_tensor", None)
    with suppress(ValueError):
        entry = own_architecture(package)
        description["weights"]["pytorch_state_dict"]["architecture"] = entry
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    files = {name: package.files[name] for name, _ in package.references()}
    return files | {DESCRIPTION: text.encode()}
