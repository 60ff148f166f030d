"""Numbers in words for people."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """`1 record`, `2,000 records`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def readable_size(size_bytes: float) -> str:
    """Bytes for people: `512 B`, `1.5 MB`. Powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
