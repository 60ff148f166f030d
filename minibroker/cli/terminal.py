"""What may be shown on a terminal: text, with everything that could command the terminal spelled out."""

from __future__ import annotations

import re
from typing import Final

# Control characters but tab and newline; the bidirectional controls, which reorder a line; marks of undecodable bytes.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(data: bytes) -> bytes:
    r"""The data as text that is safe on a terminal: bytes that are no UTF-8 and control characters appear as \xNN."""
    text = data.decode("utf-8", "surrogateescape")
    if text.isprintable():  # the usual case, decided in C
        return data
    return _UNSAFE.sub(_spelled_out, text).encode()


def _spelled_out(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape's disguise of one byte
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
