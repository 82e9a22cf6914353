"""What a run is: its training, verdicts, calibration, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from denoisplit.config.systems import SYSTEMS
from denoisplit.files.json_file import read_json
from denoisplit.files.outputs import bytes_of
from denoisplit.inspection.images import scale_text, size_text
from denoisplit.jobs.alarm_file import ALARM
from denoisplit.run import CALIBRATION, METRICS, WEIGHTS, Run, load, load_config


def run_record(run: Run | Path) -> dict[str, Any]:
    """Return what a run is, as plain values; also one that is not finished.

    Raises
    ------
    InputError
        If it is damaged.
    """
    path = run.path if isinstance(run, Run) else run
    config = load_config(path)
    settings, facts = config.settings, config.facts
    finished = all((path / name).is_file() for name in (WEIGHTS, CALIBRATION))
    record: dict[str, Any] = {
        "kind": "run",
        "run": str(path),
        "bytes": bytes_of(path),
        "system": settings.system,
        "preset": settings.preset,
        "structures": list(settings.names),
        "superposition": settings.data.superposition,
        "created": None if config.created is None else config.created.isoformat(),
        "denoisplit": facts.libraries.get("denoisplit"),
        "images": {name: len(files) for name, files in facts.fingerprints.items()},
        "frames": facts.frames,
        "pixel_size_um": facts.pixel_size_um,
        "finished": finished,
    }
    if not finished:
        return record
    run = run if isinstance(run, Run) else load(path, device="cpu")
    metrics = read_json(path / METRICS) if (path / METRICS).is_file() else {}
    intervals = [] if run.error_map is None else run.error_map.coverages.tolist()
    return record | {
        "verdicts": metrics.get("verdicts") or [],
        "compared_with": metrics.get("reference"),
        "calibration": run.calibration,
        "error_map": run.error_map is not None,
        "intervals": [float(f"{coverage:.6g}") for coverage in intervals],
        "alarm": (path / ALARM).is_file(),
        "packages": run.model.supports_tiling,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "stride": run.model.stride,
        "halo": run.halo,
    }


def run_lines(record: Mapping[str, Any]) -> list[str]:
    """Return a run in lines of a name and a text."""
    names = ", ".join(record["structures"])
    images = ", ".join(f"{count} of {name}" for name, count in record["images"].items())
    frames = ", ".join(f"{count} {part}" for part, count in record["frames"].items())
    lines = [
        f"{record['run']}: run, {size_text(record['bytes'])}",
        f"splits: the {record['superposition']} of {names}",
        f"system: {SYSTEMS[record['system']].title}, preset {record['preset']}",
        f"trained: {record['created'] or 'at an unknown time'}, denoisplit "
        f"{record['denoisplit'] or 'of an unknown version'}",
        f"files: {images}; frames: {frames}",
        f"pixel size: {scale_text(record['pixel_size_um'])}",
    ]
    if not record["finished"]:
        remedy = f"denoisplit train --resume -o {record['run']}"
        return [*lines, f"state: not finished; continue with `{remedy}`"]
    return [*lines, *verdict_lines(record["verdicts"]), *_abilities(record)]


def verdict_lines(verdicts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the verdict on each structure."""
    lines = [f"verdict: {verdict['sentence']}" for verdict in verdicts]
    return lines or ["verdict: none"]


def _abilities(record: Mapping[str, Any]) -> list[str]:
    factors = ", ".join(f"{name} {factor:.3g}" for name, factor in record["calibration"].items())
    if record["error_map"]:
        intervals = ", ".join(f"{coverage:g}" for coverage in record["intervals"])
        bars = f"from an error map; intervals of {intervals}" if intervals else "from an error map"
    else:
        bars = f"from the spread of samples (factors: {factors})"
    alarm = "warns of" if record["alarm"] else "cannot tell"
    package = "can" if record["packages"] else "cannot"
    return [
        f"error bars: {bars}",
        f"also: {alarm} images unlike the training data; {package} be exported as a package",
        f"network: {record['parameters']:,} parameters, stride {record['stride']} px, "
        f"halo {record['halo']} px",
    ]
