"""What an option of a command is: one declaration, from which everything about it is made.

The parsers of the command line, the keys of YAML files, the parameter documentation of the Python
functions and ``docs/settings.md`` all come from the declarations in `denoisplit.config.commands`.
Only the standard library is imported here, so that ``denoisplit --help`` stays fast. An option that
stands for a setting takes what it does not declare itself from `denoisplit.config.settings`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Parameter, signature
from types import UnionType
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, cast, get_args, get_origin

from denoisplit.progress import progress_shown

File = NewType("File", str)
Channel = NewType("Channel", str)
Pixels = NewType("Pixels", int)
RawIntensity = NewType("RawIntensity", float)
Files = list[File]
FileOrMapping: Any = File | dict[str, Any]  # a YAML file, or its content
Groups = dict[str, list[File]]  # name -> files
Function = TypeVar("Function", bound=Callable[..., Any])

UNITS: dict[Any, str] = {
    Pixels: "px",
    tuple[Pixels, Pixels, Pixels]: "px",
    RawIntensity: "raw intensity",
    dict[str, RawIntensity]: "raw intensity",
}
TYPE_NAMES: dict[Any, str] = {  # as NumPy documentation writes them
    File: "path",
    Channel: "int or str",
    FileOrMapping: "path or mapping",
    Pixels: "int",
    RawIntensity: "float",
    Files: "path or sequence of path",
    list[str]: "sequence of str",
    list[float]: "sequence of float",
    Groups: "mapping of name to files",
    dict[str, File]: "mapping of name to path",
    dict[str, RawIntensity]: "mapping of name to float",
    dict[str, Any]: "mapping",
    tuple[Pixels, Pixels, Pixels]: "(int, int, int)",
}


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Parameters
    ----------
    usage : str
        As a usage line shows it: ``--tile PX``, ``-o/--output DIR``, or ``RUN`` for a positional
        argument.
    type : type
        Of the value; lists and mappings are given as several words, or repeatedly.
    description : str
        One sentence or a few. Names of other arguments stand in backticks.
    default : object
        Default of the Python function; an ellipsis for a required option.
    otherwise : str
        What happens without the option, where a default of None does not say it.
    name : str
        Argument of the Python function, and key in a YAML file; by default as the flag.
    unit : str
        By default that of the type.
    choices : tuple of str
    unless : str
        Name of another option that makes a required one unnecessary.
    setting : str
        Dotted name of the setting that the option stands for.
    place : {"everywhere", "command line", "python"}
        "command line" for options that the Python function does not have, "python" for those that
        have no flag. All but ``config`` and ``quiet`` are keys of YAML files.
    """

    usage: str
    type: Any = str
    description: str = ""
    default: Any = None
    otherwise: str = ""
    name: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    unless: str = ""
    setting: str = ""
    place: Literal["everywhere", "command line", "python"] = "everywhere"

    def __post_init__(self) -> None:
        own = self.flags[-1].removeprefix("--").replace("-", "_") if self.flags else self.usage
        object.__setattr__(self, "name", self.name or own.lower())
        object.__setattr__(self, "unit", self.unit or UNITS.get(self.type, ""))

    @property
    def flags(self) -> tuple[str, ...]:
        """Its flags, the long one last; none for a positional argument."""
        first = self.usage.split()[0]
        return tuple(first.split("/")) if first.startswith("-") else ()

    @property
    def metavar(self) -> tuple[str, ...]:
        """The words that stand for its value."""
        return tuple(self.usage.split()[len(self.flags[:1]) :])

    @property
    def optional(self) -> str:
        """Ending of the file that may follow it, as in ``--json [FILE.json]``; else empty."""
        word = self.metavar[0] if self.metavar else ""
        return f".{word[:-1].rpartition('.')[2]}" if word.startswith("[") else ""

    @property
    def shown(self) -> str:
        """How messages of the command line call it: its long flag, or the word for its value."""
        return self.flags[-1] if self.flags else self.usage

    @property
    def short_usage(self) -> str:
        """Its first flag, and the words that stand for its value."""
        return " ".join([*self.flags[:1], *self.metavar])

    @property
    def required(self) -> bool:
        """Whether a command line must have it."""
        return self.default is ...

    @property
    def default_text(self) -> str:
        """The default in words; empty where there is none."""
        if self.otherwise or self.default in (None, ..., ()) or self.type is bool:
            return self.otherwise
        values = self.default if isinstance(self.default, tuple) else (self.default,)
        return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)

    @property
    def documentation(self) -> str:
        """Its entry in a NumPy docstring."""
        kind = TYPE_NAMES.get(self.type) or self.type.__name__
        if self.metavar == ("RUN",) and self.name != "output":
            kind = "Run, path or sequence of them" if self.name == "runs" else "Run or path"
        if self.choices and self.type is str:
            kind = "{" + ", ".join(f'"{choice}"' for choice in self.choices) + "}"
        if self.default in (None, ()) or self.unless:
            kind += ", optional"
        elif not self.required:
            kind += f", default {self.default!r}".replace("'", '"')
        notes = [f"Default: {self.otherwise}."] if self.otherwise not in ("", "none") else []
        notes += [f"Unit: {self.unit}."] if self.unit else []
        text = textwrap.fill(" ".join([self.description, *notes]), 92, break_on_hyphens=False)
        return f"{self.name} : {kind}\n{textwrap.indent(text, '    ')}"


@dataclass(frozen=True)
class Command:
    """A command: its place in the help, one sentence, its options, and a realistic example."""

    name: str
    group: Literal["everyday", "packages", "paper"]
    summary: str
    options: tuple[Option, ...]
    example: str
    interrupted: str = ""  # how an interrupted call is continued
    usage: str = ""  # further words of the usage line, for options that are alternatives

    @property
    def takes_yaml(self) -> bool:
        """Whether a YAML file can give its options."""
        return any(option.name == "config" for option in self.options)


def field_of(option: Option) -> Any:
    """Return the field of the settings that an option stands for."""
    from denoisplit.config.settings import Settings

    model: Any = Settings
    *groups, name = option.setting.split(".")
    for group in groups:
        model = model.model_fields[group].annotation
    return model.model_fields[name]


def resolved(option: Option) -> Option:
    """Fill in what an option takes from the setting that it stands for."""
    if not option.setting:
        return option
    field = field_of(option)
    kind = field.annotation
    if get_origin(kind) in (Union, UnionType):  # of a type and None
        kind = get_args(kind)[0]
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    is_group = hasattr(kind, "model_fields")
    default = None if is_group or option.otherwise else field.default
    return replace(
        option,
        description=option.description or field.description,
        type=dict[str, Any] if is_group else str if choices else kind,
        unit=option.unit or (field.json_schema_extra or {}).get("unit", ""),
        choices=option.choices or choices,
        default=default if option.default is None else option.default,
    )


PROGRESS = Option("progress", bool, "Show progress bars, in a terminal or a notebook.", True)


def documented(command: Command) -> Callable[[Function], Function]:
    """Make a function the Python interface of a command.

    The line ``{options}`` of its docstring is replaced by entries for the options that it has.
    Numbers of NumPy are taken as those of Python, and ``progress=False`` hides bars.
    """

    def fill(function: Function) -> Function:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            with progress_shown(bool(options.get("progress", True))):
                plain = {name: plain_value(value) for name, value in options.items()}
                return function(*map(plain_value, arguments), **plain)

        parameters = signature(function).parameters
        order = list(parameters)
        declared = [o for o in (*command.options, PROGRESS) if o.place != "command line"]
        if not any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()):
            declared = [o for o in declared if o.name in parameters]
        options = [resolved(option) for option in declared]
        options.sort(key=lambda o: order.index(o.name) if o.name in order else len(order))
        lines = (function.__doc__ or "").splitlines()  # none with python -OO
        for number, line in enumerate(lines):
            if line.strip() == "{options}":
                entries = "\n".join(option.documentation for option in options)
                lines[number] = textwrap.indent(entries, line[: line.index("{")])
        call.__doc__ = "\n".join(lines)
        return cast(Function, call)

    return fill


def plain_value(value: Any) -> Any:
    """Return numbers of NumPy as those of Python, also in mappings, lists and tuples."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    if isinstance(value, dict):
        return {plain_value(key): plain_value(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain_value, value))
    return value
