"""docs/guide.md is run as it stands; see tests/test_docs.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import test_docs as docs


def test_the_guide_runs_as_it_stands(
    tmp_path_factory: pytest.TempPathFactory, programs: Path
) -> None:
    (guide,) = [path for path in docs.DOCUMENTS if path.name == "guide.md"]
    docs.run(guide, tmp_path_factory.mktemp("guide"), programs)
