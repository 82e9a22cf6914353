"""The manifest by which napari finds the plugin; `make napari` lets napari itself read it."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def manifest() -> dict:
    module, file = PROJECT["entry-points"]["napari.manifest"]["denoisplit"].split(":")
    return yaml.safe_load((ROOT / module.replace(".", "/") / file).read_text(encoding="utf-8"))


def test_commands_name_what_their_modules_define() -> None:
    assert manifest()["name"] == PROJECT["name"]
    commands = manifest()["contributions"]["commands"]
    for command in commands:
        module, name = command["python_name"].split(":")
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        defined = [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
        assert name in defined and command["id"].startswith("denoisplit.")
    widgets = [widget["command"] for widget in manifest()["contributions"]["widgets"]]
    assert widgets == [command["id"] for command in commands]


def test_the_extra_names_no_binding_of_qt() -> None:
    (requirement,) = map(Requirement, PROJECT["optional-dependencies"]["napari"])
    assert requirement.name == "napari" and not requirement.extras
