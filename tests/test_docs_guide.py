"""docs/guide.md is run as it stands; see tests/test_docs.py."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def test_the_guide_runs_as_it_stands(tmp_path: Path) -> None:
    place = Path(__file__).with_name("test_docs.py")
    spec = spec_from_file_location("docs_as_tests", place)
    assert spec is not None and spec.loader is not None
    docs = module_from_spec(spec)
    sys.modules[spec.name] = docs  # where its dataclasses look for their annotations
    spec.loader.exec_module(docs)
    (guide,) = [path for path in docs.DOCUMENTS if path.name == "guide.md"]
    docs.run(guide, tmp_path)
