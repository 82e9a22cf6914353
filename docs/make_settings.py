"""Write docs/settings.md from the declarations of settings and options: ``make settings``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from denoisplit.config.commands import COMMANDS
from denoisplit.config.groups import StructureSettings
from denoisplit.config.options import Command, Option, resolved
from denoisplit.config.settings import Settings, settings_from

PAGE = Path(__file__).with_name("settings.md")
HEAD = """# Settings and options

This page is generated from the declarations in `denoisplit/config/` (`make settings`).

Options are given on the command line, as arguments of the Python function, or as keys of a YAML
file (`--config FILE.yaml`); those on the command line take precedence. Settings in groups are given
in a YAML file (`network: {filters: 32}`) or in Python (`train(..., network={"filters": 32})`).
"""
LIMITS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}"}
VARIANTS: dict[str, dict[str, Any]] = {
    "preset small": {"preset": "small"},
    "preset medium": {"preset": "medium"},
    "preset paper": {"preset": "paper"},
    "system musplit": {"system": "musplit"},
    "system hdn_musplit": {"system": "hdn_musplit"},
    "system hdn": {"system": "hdn"},
    "system hdn, preset original": {"system": "hdn", "preset": "original"},
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


def code(value: object) -> str:
    """A value as YAML writes it; nothing for the empty text."""
    plain = {None: "null", True: "true", False: "false"}
    text = plain[value] if value is None or isinstance(value, bool) else str(value)  # type: ignore[index]
    return f"`{text}`" if text else ""


# ---------------------------------------------------------------- options


def section_of(command: Command) -> str:
    """Options of one command."""
    options = [resolved(option) for option in command.options]
    groups = [option.name for option in options if option.place == "python" and option.setting]
    rows = [row_of(option) for option in options if option.place != "python"]
    text = f"\n### denoisplit {command.name}\n\n{command.summary}\n\n"
    text += table(("option", "argument", "default", "unit", "description"), rows)
    if groups:
        text += f"\nAlso groups of settings, see below: {', '.join(map(code, groups))}.\n"
    return text + f"\nExample: `{command.example}`\n"


def row_of(option: Option) -> list[str]:
    """One option."""
    default = "required" if option.required else option.default_text
    default += f", or `{option.unless}`" if option.unless else ""
    choices = f" One of {', '.join(map(code, option.choices))}." if option.choices else ""
    name = "" if option.name in ("config", "quiet") else code(option.name)
    if option.type is bool:
        default = "off"
    return [code(option.usage), name, default, option.unit, option.description + choices]


# ---------------------------------------------------------------- settings


def kind_of(annotation: Any, metadata: Sequence[Any]) -> str:
    """Type, limits or choices of a setting."""
    if get_origin(annotation) is Literal:
        return ", ".join(map(code, get_args(annotation)))
    if get_origin(annotation) is Annotated:
        inner, *info = get_args(annotation)
        metadata = [m for i in info for m in (i.metadata if isinstance(i, FieldInfo) else [i])]
        return kind_of(inner, metadata)
    optional = [a for a in get_args(annotation) if a is not type(None)]
    if type(None) in get_args(annotation):
        return f"{kind_of(optional[0], metadata)}, or `null`"
    name = "list of text" if get_origin(annotation) is tuple else annotation.__name__
    limits = [
        text.format(f"{value:g}" if isinstance(value := getattr(limit, key), float) else value)
        for limit in metadata
        for key, text in LIMITS.items()
        if hasattr(limit, key)
    ]
    name = {"str": "text", "bool": "true or false"}.get(name, name)
    return " ".join([name, ", ".join(limits)]).strip()


def rows_of(group: type[BaseModel]) -> Iterable[list[str]]:
    """The settings of a group, without groups in it."""
    for name, field in group.model_fields.items():
        kind = field.annotation
        if any(isinstance(k, type) and issubclass(k, BaseModel) for k in (kind, *get_args(kind))):
            continue
        extra = field.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        default = "required" if field.is_required() else code(field.default)
        yield [code(name), kind_of(kind, field.metadata), default, unit, field.description or ""]


def group_section(title: str, group: type[BaseModel], text: str) -> str:
    """Settings of one group."""
    head = ("setting", "value", "default", "unit", "description")
    return f"\n### {title}\n\n{text}\n\n" + table(head, rows_of(group))


def flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Groups in groups as dotted names."""
    names: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            names |= flat(value, f"{before}{key}.")
        else:
            names[before + key] = value
    return names


def variants() -> str:
    """What presets and systems change."""
    left_out = {"structures", "system", "preset", "denoiser"}
    files = [{"name": name, "files": ["x"]} for name in "AB"]
    plain = flat(Settings.model_validate({"structures": files}).model_dump(exclude=left_out))
    columns = {}
    for title, values in VARIANTS.items():
        structures = files[:1] if values.get("system") == "hdn" else files
        settings = settings_from({"structures": structures, **values})
        columns[title] = flat(settings.model_dump(exclude=left_out))
    names = [n for n in plain if any(column[n] != plain[n] for column in columns.values())]
    rows = [
        [
            code(n),
            code(plain[n]),
            *(code(c[n]) if c[n] != plain[n] else "" for c in columns.values()),
        ]
        for n in names
    ]
    return table(("setting", "default", *columns), rows)


def page() -> str:
    """The whole page."""
    groups: list[tuple[str, type[BaseModel], str]] = []
    for name, field in Settings.model_fields.items():
        kinds = [
            k
            for k in (field.annotation, *get_args(field.annotation))
            if isinstance(k, type) and issubclass(k, BaseModel) and k is not StructureSettings
        ]
        groups += [(code(name), kind, field.description or "") for kind in kinds]
    text = HEAD + "\n## Options of the commands\n"
    text += "".join(section_of(command) for command in COMMANDS.values())
    text += "\n## Settings of a training\n"
    text += group_section("At the top", Settings, "Settings that belong to no group.")
    text += group_section("`structures`", StructureSettings, "Of each structure, in a config.yaml.")
    text += "".join(group_section(*group) for group in groups)
    text += (
        "\nThe group `denoiser` also holds groups `network`, `objective` and `training`, with the "
        "settings above.\n\n## What presets and systems change\n\nFor two structures, and one "
        "with system hdn. Other settings keep their default.\n\n" + variants()
    )
    return text


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE).write_text(page(), encoding="utf-8")
