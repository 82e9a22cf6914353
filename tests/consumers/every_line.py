"""Every line of ``denoisplit check`` on a small package: `make lines`, under three minutes.

The environment of bioengine, which is made once in .venvs, is not counted.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from denoisplit_zoo import About, check, export
from denoisplit_zoo.checking import github
from denoisplit_zoo.checking.bioengine import programs_of_service
from denoisplit_zoo.checking.rules import CONSUMERS

from .small_runs import small_runs

ENVIRONMENTS = Path(".venvs")
LONGEST = 180.0  # s, on two cores


def test_every_line_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs_of_service(ENVIRONMENTS)
    monkeypatch.setattr(github, "_status", lambda _: 200)
    start, small = time.monotonic(), small_runs()
    files = small.structure_files(tmp_path / "images", ("ER", "actin"), (150, 160))
    run = small.make_run(tmp_path / "run", files, network=small.DEEP, error_map=True)
    about = About.model_validate(small.ABOUT)
    package = export(run, tmp_path / "package.zip", about=about, **small.small("fast"))
    result = check(package, environments=ENVIRONMENTS)
    took = time.monotonic() - start
    assert result.passed and result.notes == [], result.text
    assert [line.split()[:2] for line in result.text.splitlines()[: len(CONSUMERS)]] == [
        [name, "pass"] for name in CONSUMERS
    ]
    assert took < LONGEST
