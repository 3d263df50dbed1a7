"""What is being measured, for whoever waits."""

from __future__ import annotations

from typing import TextIO


class Progress:
    """A line for each step: on a terminal each takes the place of the one before."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._part, self._at, self._steps = "", 0, 0

    def begin(self, part: str, steps: int) -> None:
        """A part of so many steps begins."""
        self._part, self._at, self._steps = part, 0, steps

    def step(self, what: str) -> None:
        """The next step begins."""
        self._at += 1
        self._say(f"{self._part} {self._at}/{self._steps}: {what}")

    def end(self) -> None:
        """All is over."""
        if self._stream.isatty():
            self._write("\r\x1b[K")

    def _say(self, line: str) -> None:
        self._write(f"\r\x1b[K{line[:99]}" if self._stream.isatty() else f"{line}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
