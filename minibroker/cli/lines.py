"""Input in blocks of lines, as it comes: from a file, a pipe or a terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import attrs
import trio

from minibroker.cli.problems import CommandError

BLOCK_BYTES: Final = 1 << 20
STANDARD_INPUT: Final = 0


@attrs.define(eq=False)
class LineReader:
    """The lines of a file descriptor."""

    descriptor: int
    delimiter: bytes
    block_bytes: int = BLOCK_BYTES
    _rest: bytes = b""

    async def next_lines(self) -> list[bytes]:
        """As many lines as the next read completes, without delimiters; none at the end.

        What follows the last delimiter is a line too, unless it is empty. Reads in a thread, which is left behind if
        the caller is cancelled: a terminal or a pipe may never yield anything again.
        """
        while block := await trio.to_thread.run_sync(
            os.read, self.descriptor, self.block_bytes, abandon_on_cancel=True
        ):
            lines = (self._rest + block).split(self.delimiter)
            self._rest = lines.pop()
            if lines:
                return lines
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


@attrs.define(eq=False)
class GivenLines:
    """Lines that are there already: the messages among the arguments."""

    lines: list[bytes]

    async def next_lines(self) -> list[bytes]:
        """All of them, and then none."""
        lines, self.lines = self.lines, []
        return lines


@attrs.frozen(kw_only=True)
class Input:
    """Where records come from: the arguments, a file, or standard input."""

    messages: tuple[bytes, ...]
    path: Path | None
    delimiter: bytes

    @property
    def is_terminal(self) -> bool:
        """Whether somebody is going to type them."""
        return not self.messages and self.path is None and os.isatty(STANDARD_INPUT)

    @property
    def size_bytes(self) -> int | None:
        """How much there is, where that can be known."""
        return self.path.stat().st_size if self.path is not None and self.path.is_file() else None

    def open(self) -> LineReader | GivenLines:
        """Begin to read; raises CommandError if the file cannot be."""
        if self.messages:
            return GivenLines(list(self.messages))
        if self.path is None:
            return LineReader(STANDARD_INPUT, self.delimiter)
        try:
            return LineReader(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC), self.delimiter)
        except OSError as error:
            raise CommandError(f"{self.path}: cannot be read: {error.strerror}") from error
