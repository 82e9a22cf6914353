"""What a package is, from its description; nothing in it is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoisplit_zoo.archive import at, read_package
from denoisplit_zoo.attachment import ATTACHMENT, run_files

from denoisplit.files.json_file import parse_json
from denoisplit.files.outputs import bytes_of
from denoisplit.inspection.images import size_text
from denoisplit.inspection.runs import verdict_lines
from denoisplit.run import METRICS

FACTS = ("structures", "system", "superposition", "samples", "interval", "error_map", "denoisplit")


def package_record(path: Path) -> dict[str, Any]:
    """Return what a package is, as plain values.

    Raises
    ------
    InputError
        If the file is not a package of this project.
    """
    contents = read_package(path)
    description, facts = contents.description, contents.facts
    metrics: Any = {}
    if not {METRICS, ATTACHMENT} & set(contents.changed):
        metrics = parse_json(run_files(contents).get(METRICS, "{}"))
    verdicts = metrics.get("verdicts") if isinstance(metrics, Mapping) else None
    weights = description.get("weights") or {}
    return {
        "kind": "package",
        "package": str(path),
        "bytes": bytes_of(path),
        "name": description.get("name"),
        "version": description.get("version"),
        "created": description.get("timestamp"),
        "license": description.get("license"),
        "authors": [author["name"] for author in description.get("authors") or ()],
        "package_kind": facts.get("kind"),
        **{name: facts.get(name) for name in FACTS},
        "pixel_size_um": facts.get("pixel_size_um"),
        "preset": at(facts, "training", "preset"),
        "weights": [name for name, value in weights.items() if value],
        "verdicts": verdicts or [],
        "changed": contents.changed,
    }


def package_lines(record: Mapping[str, Any]) -> list[str]:
    """Return a package in lines of a name and a text."""
    names = ", ".join(map(str, record["structures"] or ()))
    interval = f", intervals of {record['interval']:g}" if record["interval"] else ""
    bars = "an error map" if record["error_map"] else "no error map"
    lines = [
        f"{record['package']}: package, {size_text(record['bytes'])}",
        f"name: {record['name']}, version {record['version']}",
        f"splits: the {record['superposition']} of {names}",
        f"kind: {record['package_kind']}, {record['samples']} samples, {bars}{interval}",
        f"system: {record['system']}, preset {record['preset']}",
        f"weights: {', '.join(record['weights']) or 'none'}",
        f"exported: of a run of {record['created']}, denoisplit {record['denoisplit']}",
        f"authors: {', '.join(record['authors'])}; license {record['license']}",
        *verdict_lines(record["verdicts"]),
    ]
    if record["changed"]:
        lines.append(f"warning: changed after the export: {', '.join(record['changed'])}")
    return lines
