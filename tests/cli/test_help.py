"""Help of all commands: every option explained, what is required, an example that parses."""

from __future__ import annotations

import re
import shlex

import pytest

from denoisplit.cli.parser import GROUPS, parse, parser_of, top_help
from denoisplit.config.commands import COMMANDS
from denoisplit.config.options import Command

ALL = pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        parse(words)
    out, err = capsys.readouterr()
    assert not err
    return out


@ALL
def test_every_argument_has_a_text_with_unit_and_default(command: Command) -> None:
    options = {option.name: option for option in command.options}
    for action in parser_of(command)._actions:
        text = action.help or ""
        assert re.match(r"[A-Z]|bf16|T1|2:", text), action.dest
        assert "`" not in text, "names of arguments are flags"
        option = options.get(action.dest)
        if option is None:
            assert action.dest == "help"
        elif option.type is not bool and not option.required:
            assert "default: " in text, action.dest
        if option is not None and option.unit:
            assert option.unit in text
        if action.choices:
            assert all(str(choice) in text for choice in action.choices)


@ALL
def test_required_options_look_required(command: Command) -> None:
    usage = parser_of(command).format_usage()
    assert "[options]" in usage and usage.count("[") == 1
    for option in command.options:
        assert (option.short_usage in usage) >= option.required
    positional = [o.usage for o in command.options if o.required and not o.flags]
    assert all(f" {name}" in usage for name in positional)


@ALL
def test_the_help_ends_with_an_example_that_parses(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed([*command.name.split(), "--help"], capsys)
    assert text.endswith(f"example:\n  {command.example}\n")
    program, *words = shlex.split(command.example)
    chosen, given = parse(words)
    assert program == "denoisplit" and chosen is command
    for option in command.options:
        assert given.get(option.name) or given.get(option.unless) or not option.required


def test_the_top_help_lists_all_commands_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(["--help"], capsys)
    assert text == top_help()
    for group, title in GROUPS.items():
        [part] = re.findall(rf"^{title}:\n((?:  .+\n)+)", text, re.M)
        assert [line.split("  ")[1] for line in part.splitlines()] == [
            command.name for command in COMMANDS.values() if command.group == group
        ]
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("family", ["noise-model", "data"])
def test_the_first_word_of_a_command_has_its_help(
    family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"usage: denoisplit {family} " in printed([family, "--help"], capsys)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "missing COMMAND"),
        (["split"], "there is no command 'split'; choose from train, predict, "),
        (["data"], "there is no command 'data'; did you mean `denoisplit data check`"),
        (["noise-model", "x"], "did you mean `denoisplit noise-model fit`"),
    ],
)
def test_commands_that_do_not_exist(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(words)
    out, err = capsys.readouterr()
    assert line in err and err.count("\n") == 1 and not out
