"""One bar over many stages: it never goes back, and ends at the total."""

from __future__ import annotations

import logging
import sys
import types
from typing import Any, ClassVar

import pytest
import rich.console

from denoisplit import progress
from denoisplit.progress import bar, progress_shown, stages


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


def test_planned_bars_are_stages_within_an_outer_stage() -> None:
    seen = []
    with stages("chain", 10.0) as whole:
        whole.stage("evaluation", 8.0, counts="calibration")
        with stages("calibration", plan={"decoding": 1.0, "probing": 3.0}) as inner:
            # the second bar of a name is no stage, nor is one that is not planned
            for name in ("decoding", "probing", "decoding", "other"):
                with bar(name, 2) as one:
                    one.to(1)
                    seen.append((inner.done, whole.done))
                    one.to(2)
            assert inner.progress is whole.progress
            seen.append((inner.done, whole.done))
        assert [task.description for task in whole.progress.tasks] == ["evaluation"]
    assert seen == [(0.5, 1.0), (2.5, 5.0), (4.0, 8.0), (4.0, 8.0), (4.0, 8.0)]
    assert not progress._stages


def test_an_interruption_leaves_no_stages_behind() -> None:
    with pytest.raises(KeyboardInterrupt), stages("chain", 1.0):
        raise KeyboardInterrupt
    with bar("training", 2) as alone:
        alone.to(1)
    assert not progress._stages


def test_bars_are_shown_to_people_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal without any logging; elsewhere for a log; hidden where asked, or quiet."""

    def is_shown() -> bool:
        with bar("training", 2) as alone:
            return not alone._progress.disable

    log = logging.getLogger("denoisplit")
    monkeypatch.setattr(log, "level", logging.NOTSET)
    assert not is_shown()
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for rich
    assert is_shown()
    with progress_shown(False), progress_shown(True):
        assert not is_shown()
    assert is_shown()
    log.setLevel(logging.WARNING)
    assert not is_shown()
    log.setLevel(logging.INFO)
    monkeypatch.delenv("FORCE_COLOR")
    assert is_shown()


class Handle:
    """A stand-in for the output of a notebook's cell."""

    texts: ClassVar[list[str]] = []

    def update(self, shown: Any) -> None:
        self.texts.append(shown._repr_mimebundle_([], [])["text/html"])


def test_a_notebook_shows_bars_without_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setattr(rich.console, "get_ipython", lambda: shell, raising=False)
    module = types.ModuleType("IPython.display")
    monkeypatch.setattr(module, "display", lambda *_, **__: Handle(), raising=False)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    with bar("training", 2) as alone:
        alone.to(2)
    assert "training" in Handle.texts[-1] and "2/2" in Handle.texts[-1]
    Handle.texts.clear()
    with progress_shown(False), bar("training", 2) as alone:
        alone.to(2)
    assert not Handle.texts


def test_the_time_of_long_work_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter(range(0, 1000, 2))  # s
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO, "denoisplit")
    monkeypatch.setattr(logging.getLogger("denoisplit"), "propagate", True)
    with bar("training", 1000) as long, bar("fit", 10) as short:
        for done in range(500, 510):  # resumed
            long._estimate(done)
        for done in range(10):
            short._estimate(done)
    later = [("calibration", 0.1), ("calibration", 90.0)]  # only what takes long is named
    for after in later:
        with bar("training", 1000, after=after) as followed:
            for done in range(3):
                followed._estimate(done)
    line = "training: about 17 min left"
    assert caplog.messages[0] == line
    expected = ["33 min left", "33 min left, then about 3 min of calibration"]
    assert [m.removeprefix("training: about ") for m in caplog.messages[1:]] == expected
    assert progress.duration(7100) == "1.97 h"
