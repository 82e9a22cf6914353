"""docs/guide.md is run as it stands; see tests/test_docs.py."""

from __future__ import annotations

from . import test_docs as docs
from .forked import commands


def test_the_guide_runs_as_it_stands(tmp_path_factory) -> None:
    (guide,) = [path for path in docs.DOCUMENTS if path.name == "guide.md"]
    with commands(tmp_path_factory.mktemp("programs")) as programs:
        docs.run(guide, tmp_path_factory.mktemp("guide"), programs)
