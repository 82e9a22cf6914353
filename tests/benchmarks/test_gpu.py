"""The script for a GPU, on small images and the CPU."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Any:
    """The module, which imports others beside it."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        import gpu

        yield gpu
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) == str(SCRIPTS / f"{name}.py"):
            del sys.modules[name]


class Worker:
    """A process that splits two images a second."""

    def __init__(self, command: list[str], **_: Any) -> None:
        assert command[1:] == [str(SCRIPTS / "gpu.py"), "--worker", "--dry"]

    def communicate(self) -> tuple[str, None]:
        return "2.0\n", None


def test_a_dry_run_checks_and_measures_everything(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(script, "subprocess", SimpleNamespace(Popen=Worker, PIPE=-1))
    monkeypatch.setattr(script, "best_rate", lambda *_: 1e9)  # takes seconds
    script.main(["--dry", "-o", str(tmp_path / "gpu.md")])
    text = (tmp_path / "gpu.md").read_text()
    assert text in capsys.readouterr().out
    assert all(f"### {title}\n" in text for title in script.PARTS)
    assert "FAILED" not in text and "NO" not in text, text
    assert "| 2 | 4.0 |" in text


def test_a_part_that_fails_loses_no_other(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Any) -> str:
        raise ValueError("no such kernel")

    parts = {"A": lambda _: "fine\n", "B": fails, "C": lambda _: "fine, too\n"}
    monkeypatch.setattr(script, "PARTS", parts)
    script.main(["--dry", "-o", str(tmp_path / "gpu.md")])
    text = (tmp_path / "gpu.md").read_text()
    assert "fine\n\n### B\n\nFAILED: ValueError: no such kernel\n\n### C\n\nfine, too" in text
    script.main(["--dry", "-o", str(tmp_path / "gpu.md"), "--minutes", "-1"])
    assert (tmp_path / "gpu.md").read_text().count("Not run: -1 minutes had passed.") == 3


def test_a_worker_prints_its_rate(script: ModuleType, capsys: Any) -> None:
    script.main(["--worker", "--dry"])
    assert float(capsys.readouterr().out) > 0


def test_a_machine_without_gpu_is_told(script: ModuleType, monkeypatch: Any) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="no GPU was found; --dry runs small images on the CPU"):
        script.main([])
