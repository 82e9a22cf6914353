"""Translate the argument names in messages of the library into flags of the command line."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection

from denoisplit.config.commands import COMMANDS
from denoisplit.config.options import Command
from denoisplit.errors import InputError, printable


class Translation:
    """Argument names of all commands and their flags; those of one command take precedence.

    Library code writes an argument in backticks, and begins the place of an error with its name.
    """

    def __init__(self, command: Command) -> None:
        self.flags = {
            option.name: option.shown
            for each in (*COMMANDS.values(), command)
            for option in each.options
            if option.place != "python"
        }

    def text(self, message: str) -> str:
        """Return a message with flags for names in backticks."""
        return re.sub(r"`(\w+)`", lambda match: self.flags.get(match[1], match[0]), message)

    def error(self, error: InputError, paths: Collection[str], config: str = "") -> InputError:
        """Return an error with flags for argument names.

        Parameters
        ----------
        error : InputError
        paths : collection of str
            Files and folders of the call, which may have the name of an argument.
        config : str
            The YAML file, if the argument at fault was given in it.
        """
        name, _, rest = error.where.partition(" ")
        where = error.where
        if name in self.flags and where not in paths:
            where = f"{config}, {where}" if config else " ".join([self.flags[name], rest]).strip()
        return InputError(
            self.text(error.problem),
            where=where,
            found=self.text(error.found),
            expected=self.text(error.expected),
            remedy=self.text(error.remedy),
        )


class Formatter(logging.Formatter):
    """One line per message, with flags for argument names and escapes for odd file names."""

    def __init__(self, translation: Translation) -> None:
        super().__init__("%(message)s")
        self.translation = translation

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return printable(self.translation.text(super().format(record)))
