"""One bar over many stages: it never goes back, and ends at the total."""

from __future__ import annotations

import logging

import pytest

from denoisplit import progress
from denoisplit.progress import bar, stages


def test_bars_within_stages_move_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("denoisplit"), "level", logging.ERROR)
    seen = []
    with stages("chain", 4.0) as whole:
        for number in range(2):
            whole.stage(f"stage {number}", 2.0, counts="training")
            seen.append(whole.done)
            for name in ("noise model", "training", "calibrating"):
                with bar(name, 10) as inner:
                    for done in (5, 10):
                        inner.to(done)
                        seen.append(whole.done)
                    assert len(whole.progress.tasks) == 2
                assert len(whole.progress.tasks) == 1
    assert seen == sorted(seen) and seen[-1] == 4.0
    # only the bar that counts does so: half of the first stage is half of its training
    assert seen[:5] == [0, 0, 0, 1, 2]
    assert not progress._stages


def test_an_interruption_leaves_no_stages_behind() -> None:
    with pytest.raises(KeyboardInterrupt), stages("chain", 1.0):
        raise KeyboardInterrupt
    with bar("training", 2) as alone:
        alone.to(1)
    assert not progress._stages
