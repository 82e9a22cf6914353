"""Parsers and help of the command line, made from the declarations of the commands."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn, get_args, get_origin

from denoisplit.cli.terminal import write_out
from denoisplit.cli.translation import Translation
from denoisplit.config.commands import COMMANDS
from denoisplit.config.options import Command, FileOrMapping, Groups, Option, resolved
from denoisplit.errors import printable
from denoisplit.progress import StandardError
from denoisplit.version import __version__

EXIT_BAD_INPUT = 2
PRINT = "-"  # value of an option whose file was left out: standard output
GROUPS = {
    "everyday": "everyday commands",
    "packages": "packages for bioimage.io",
    "paper": "figures and tables of the paper",
}


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stderr:
            StandardError().write(message)
        else:
            write_out(message)

    def error(self, message: str) -> NoReturn:
        """Print one line and exit."""
        self.exit(
            EXIT_BAD_INPUT, f"{self.prog}: error: {printable(message)}; see `{self.prog} --help`\n"
        )


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """A help formatter that breaks no words at hyphens."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


class _AddGroup(argparse.Action):
    """Collect ``--structure NAME FILES...``, repeated, in a mapping of name to files."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name, *rest = values
        mapping = dict(getattr(namespace, self.dest, None) or {})
        if not rest:
            parser.error(f"{option_string} {name}: no files follow the name")
        if name in mapping:
            parser.error(f"{option_string} {name} is given twice")
        mapping[name] = self.value_of(parser, f"{option_string} {name}", rest)
        setattr(namespace, self.dest, mapping)

    def value_of(self, parser: argparse.ArgumentParser, place: str, words: list[str]) -> Any:
        """Return the value for one name."""
        return words


class _AddFile(_AddGroup):
    """Collect an option of a name and a file, repeated, in a mapping."""

    def value_of(self, parser: argparse.ArgumentParser, place: str, words: list[str]) -> Any:
        return words[0]


class _AddNumber(_AddGroup):
    """Collect an option of a name and a number, repeated, in a mapping."""

    def value_of(self, parser: argparse.ArgumentParser, place: str, words: list[str]) -> Any:
        try:
            return float(words[0])
        except ValueError:
            parser.error(f"{place}: expected a number, got {words[0]!r}")


def parse(words: Sequence[str]) -> tuple[Command, dict[str, Any]]:
    """Return the chosen command and the options that were given; exit for help and errors.

    Only the parser of the chosen command is built: it may need the settings, which are slow to
    import.
    """
    top = CommandParser(prog="denoisplit", add_help=False)
    first = words[0] if words else top.error("missing COMMAND")
    if first in ("-h", "--help", "--version"):
        version = f"denoisplit {__version__}\n"
        write_out(version if first == "--version" else top_help())
        top.exit()
    family = [name for name in COMMANDS if name.split()[0] == first]
    if not family:
        top.error(f"there is no command {first!r}; choose from {', '.join(COMMANDS)}")
    count = len(family[0].split())
    name, rest = " ".join(words[:count]), words[count:]
    if name not in COMMANDS:
        if not {"-h", "--help"} & set(words):
            top.error(f"there is no command {name!r}; did you mean `denoisplit {family[0]}`")
        name, rest = family[0], ["--help"]
    rest = _without_optional_values(COMMANDS[name], rest)
    return COMMANDS[name], vars(parser_of(COMMANDS[name]).parse_intermixed_args(rest))


def _without_optional_values(command: Command, words: Sequence[str]) -> list[str]:
    """Return words of the command line; an optional file is only one of its ending."""
    ends = {o.flags[-1]: o.optional for o in command.options if o.flags and o.optional}
    return [
        f"{word}={PRINT}" if word in ends and not next_word.endswith(ends[word]) else word
        for word, next_word in zip(words, [*words[1:], ""], strict=False)
    ]


def top_help() -> str:
    """Return the help of the whole program: all commands, in groups."""
    width = max(map(len, COMMANDS)) + 2
    lines = [
        "usage: denoisplit COMMAND ...",
        "",
        "Split one noisy fluorescence image into its structures, with calibrated uncertainty.",
    ]
    for group, title in GROUPS.items():
        of_group = [command for command in COMMANDS.values() if command.group == group]
        lines += ["", f"{title}:", *(f"  {c.name:{width}}{c.summary}" for c in of_group)]
    lines += [
        "",
        "options:",
        f"  {'-h, --help':{width}}Print this help and exit.",
        f"  {'--version':{width}}Print the version and exit.",
        "",
        "`denoisplit COMMAND --help` lists the options of a command and an example.",
    ]
    return "\n".join(lines) + "\n"


def parser_of(command: Command) -> CommandParser:
    """Build the parser of one command."""
    # required options are checked later: a YAML file may give them
    parser = CommandParser(
        prog=f"denoisplit {command.name}",
        usage=usage_of(command),
        description=command.summary,
        epilog=_epilog(command),
        formatter_class=_HelpFormatter,
        argument_default=argparse.SUPPRESS,
        add_help=False,
    )
    translation = Translation(command)
    required, others = (parser.add_argument_group(title) for title in ("required", "options"))
    for option in command.options:
        if option.place != "python":
            _add(required if option.required else others, resolved(option), translation)
    others.add_argument("-h", "--help", action="help", help="Print this help and exit")
    return parser


def usage_of(command: Command) -> str:
    """Return the usage line: what is required stands without brackets."""
    words = ["denoisplit", command.name]
    for option in sorted(command.options, key=lambda option: bool(option.flags)):
        if option.required:
            other = next((o for o in command.options if o.name == option.unless), None)
            shown = _repeated(option)
            words.append(f"({shown} | {_repeated(other)})" if other else shown)
    return " ".join([*words, *filter(None, [command.usage]), "[options]"])


def _repeated(option: Option) -> str:
    several = get_origin(option.type) is list or option.type == Groups
    return option.short_usage + ("..." if several else "")


def _epilog(command: Command) -> str:
    groups = [o.name for o in command.options if o.place == "python" and o.setting]
    note = f"A YAML file may also set {', '.join(groups)}; see docs/settings.md.\n\n"
    return f"{note if groups and command.takes_yaml else ''}example:\n  {command.example}"


def _add(parser: argparse._ArgumentGroup, option: Option, translation: Translation) -> None:
    """Add one option: how it is given follows from its type."""
    kind, origin = option.type, get_origin(option.type)
    keywords: dict[str, Any] = {"help": translation.text(help_of(option)).replace("%", "%%")}
    if kind is bool:
        keywords["action"] = "store_true"
    elif origin is dict:
        value = get_args(kind)[1]
        keywords["nargs"] = "+" if kind == Groups else 2
        keywords["metavar"] = option.metavar
        keywords["action"] = (
            _AddGroup if kind == Groups else _AddNumber if _base(value) is float else _AddFile
        )
    elif origin is tuple:
        keywords |= {"nargs": len(get_args(kind)), "type": int, "metavar": option.metavar}
    else:
        [word] = option.metavar
        keywords |= {"type": _base(get_args(kind)[0] if origin is list else kind), "metavar": word}
        keywords["choices"] = option.choices or None
        if origin is list:
            keywords["nargs"] = "+" if option.flags else "*"
        elif not option.flags:
            keywords["nargs"] = "?"
    if option.flags:
        parser.add_argument(*option.flags, dest=option.name, **keywords)
    else:
        parser.add_argument(option.name, **keywords)


def help_of(option: Option) -> str:
    """Return the help of an option: description, choices, unit, default, whether it is required."""
    notes = [option.unit] if option.unit else []
    if option.choices:
        notes.append(f"one of {', '.join(map(str, option.choices))}")
    if get_origin(option.type) is dict:
        notes.append("repeat the option for each name")
    if option.default_text:
        notes.append(f"default: {option.default_text}")
    description = option.description.removesuffix(".")
    return f"{description} ({'; '.join(notes)})" if notes else description


def _base(kind: Any) -> Any:
    """Return the plain type that argparse converts to."""
    return str if kind == FileOrMapping else getattr(kind, "__supertype__", kind)
