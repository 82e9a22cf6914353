"""The small untrained runs of tests/packaging, for programs and tests outside of it."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def small_runs() -> ModuleType:
    """tests/packaging/conftest.py: ``make_run``, ``structure_files``."""
    path = Path(__file__).parents[1] / "packaging" / "conftest.py"
    spec = spec_from_file_location("small_runs_of_packaging", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
