"""Declarations of options: they agree with the functions, the settings and the reference page."""

from __future__ import annotations

import inspect
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import denoisplit_zoo
import numpy as np
import pytest
from denoisplit_zoo.demo import demo
from pydantic import BaseModel

import denoisplit
from denoisplit.config.commands import COMMANDS
from denoisplit.config.options import documented, resolved
from denoisplit.config.settings import Settings
from denoisplit.reproduction.reproduce import reproduce

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "train": denoisplit.train,
    "predict": denoisplit.predict,
    "evaluate": denoisplit.evaluate,
    "calibrate": denoisplit.calibrate,
    "superpose": denoisplit.superpose,
    "noise-model fit": denoisplit.fit_noise_model,
    "inspect": denoisplit.inspect,
    "demo": demo,
    "export": denoisplit_zoo.export,
    "check": denoisplit_zoo.check,
    "import": denoisplit_zoo.import_package,
    "reproduce": reproduce,
    "compare": denoisplit.compare,
    "figure": denoisplit.figure,
}
EACH = pytest.mark.parametrize("name", FUNCTIONS)
NOTHING = (None, ())


def test_every_command_but_the_check_of_downloads_is_a_function() -> None:
    assert COMMANDS.keys() - FUNCTIONS.keys() == {"data check"}


@EACH
def test_declared_options_are_the_parameters(name: str) -> None:
    parameters = dict(inspect.signature(FUNCTIONS[name]).parameters)
    free = parameters.pop("options", None)
    assert free is None or not hasattr(denoisplit, name)
    parameters.pop("progress", None)
    declared = {o.name: o for o in COMMANDS[name].options if o.place != "command line"}
    assert parameters.keys() <= declared.keys()
    for option in (declared[key] for key in declared.keys() - parameters.keys()):
        assert free is not None and option.setting, option.name


@EACH
def test_declared_defaults_are_those_of_the_function(name: str) -> None:
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    for option in map(resolved, COMMANDS[name].options):
        if option.name in parameters and option.place != "command line":
            default = parameters[option.name].default
            if option.required or (option.setting and default is None):
                continue  # a setting that is not given has the value of the preset
            assert default == option.default or {default, option.default} <= {*NOTHING}, option.name


@EACH
def test_parameters_are_documented_from_the_declarations(name: str) -> None:
    text = inspect.cleandoc(FUNCTIONS[name].__doc__ or "")  # indented, or from Python 3.13 on not
    assert "{options}" not in text
    for option in map(resolved, COMMANDS[name].options):
        assert (f"\n{option.name} : " in text) == (option.place != "command line")
    assert all(len(line) <= 100 for line in text.splitlines() if " : " not in line)


def test_numbers_of_numpy_are_taken_as_those_of_python() -> None:
    @documented(COMMANDS["superpose"])
    def kinds(*values: Any, **options: Any) -> list[Any]:
        return [values, options]

    numbers = {"seed": np.int64(3), "offsets": {"ER": np.float32(0.5)}, "samples": np.uint8(2)}
    image = np.ones((2, 2))
    values, options = kinds(np.bool_(True), [np.int16(1), (np.float64(2),)], image, **numbers)
    assert repr(values[:2]) == "(True, [1, (2.0,)])" and values[2] is image
    assert repr(options) == "{'seed': 3, 'offsets': {'ER': 0.5}, 'samples': 2}"


def groups_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and all models in it."""
    found = [model]
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += groups_of(kind)
    return found


@pytest.mark.parametrize("group", groups_of(Settings), ids=lambda group: group.__name__)
def test_every_setting_has_a_description(group: type[BaseModel]) -> None:
    for name, field in group.model_fields.items():
        assert (field.description or "").endswith("."), name


def test_the_declarations_import_nothing_heavy() -> None:
    heavy = {"pydantic", "numpy", "yaml", "torch"}
    code = f"import sys, denoisplit.config.commands; assert not {heavy} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_reference_page_is_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "settings.md"
    monkeypatch.setattr(sys, "argv", ["make_settings.py", str(page)])
    runpy.run_path(str(ROOT / "docs/make_settings.py"), run_name="__main__")
    stored = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8") == stored, "run `make settings`"
