"""All mistakes of a configuration at once, each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

HEADER = re.compile(r"\s*\[\s*([\w.\"'-]+)\s*\]")
KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")
HEAD, TAIL = 1500, 500
"""Characters of a long text that are shown: its beginning says what was given, its end what was expected."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the text names file, line, key, what was given and what is known."""


class Mistakes:
    """Takes down what is wrong and goes on, so that a user need not mend a file mistake by mistake.

    Parameters
    ----------
    where : str
        The file.
    lines : mapping of key to int
        As of `lines_of`.
    """

    def __init__(self, where: str, lines: Mapping[str, int]) -> None:
        self.where, self.lines = where, lines
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        """Take down a mistake."""
        self.texts.append(text)

    @contextmanager
    def of(self, key: str) -> Iterator[str]:
        """Take down the ConfigError that the block raises, if it does; yields file and line of the key."""
        line = self.lines.get(key)
        try:
            yield self.where if line is None else f"{self.where}, line {line}"
        except ConfigError as error:
            self.add(shortened(str(error)))

    def raise_all(self) -> None:
        """Raise ConfigError if there are mistakes."""
        if len(self.texts) == 1:
            raise ConfigError(self.texts[0])
        if self.texts:
            raise ConfigError("\n  ".join([f"{self.where}: {len(self.texts)} mistakes", *self.texts]))


def lines_of(text: str) -> dict[str, int]:
    """Return the line, from 1, in which each key of a TOML text is set, tables before a dot.

    The parser of the standard library does not tell lines. A line inside of a long string that looks like a key can give a
    wrong one, never a wrong value.
    """
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):  # the line ends of TOML, fewer than those of `splitlines`
        if header := HEADER.match(line):
            table = _bare(header[1])
            found.setdefault(table, number)
            table += "."
        elif key := KEY.match(line):
            found.setdefault(table + _bare(key[1]), number)
    return found


def shown(value: Any) -> str:
    """Return the repr of a value out of a file, which may be too long or too deep to have one."""
    try:
        return shortened(repr(value))
    except (RecursionError, ValueError):  # tables in tables by a long dotted key; whole numbers of thousands of digits
        return f"a value of type {type(value).__name__}, nested too deeply or with too many digits to be shown,"


def shortened(text: str) -> str:
    """Return a text without its middle, if it is too long to be read."""
    if len(text) <= HEAD + TAIL:
        return text
    return f"{text[:HEAD]} [... {len(text) - HEAD - TAIL} characters ...] {text[-TAIL:]}"


def _bare(key: str) -> str:
    return re.sub("[\"']", "", key)
