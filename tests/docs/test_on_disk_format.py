"""docs/on-disk-format.md: its worked example is what the storage writes."""

import re
from pathlib import Path

from minibroker.records.batch import assign, decode_header
from minibroker.records.builder import BatchBuilder
from minibroker.storage.filesystem import OsFileSystem
from minibroker.storage.segment import Segment
from tests.docs.console import ROOT

PAGE = (ROOT / "docs" / "on-disk-format.md").read_text()
MIDNIGHT_MS = 1767225600000


def written_files(directory: Path) -> list[bytes]:
    """The log and the two indexes of the example."""
    segment = Segment(OsFileSystem(), str(directory), base_offset=0)
    segment.create()
    first, second = BatchBuilder(), BatchBuilder()
    first.append(MIDNIGHT_MS, None, b"hello")
    first.append(MIDNIGHT_MS + 250, b"fr", b"bonjour", (("lang", b"fr"),))
    second.append(MIDNIGHT_MS + 1000, None, b"hola")
    offset = 0
    for builder in (first, second):
        batch = builder.build()
        assign(memoryview(batch), offset, 0)
        segment.append(batch, decode_header(batch), index_interval_bytes=0)
        offset += builder.record_count
    segment.seal()
    return [Path(path).read_bytes() for path in segment.paths]


def hexdump(data: bytes) -> str:
    lines = (f"{position:08x}  {data[position : position + 16].hex(' ')}\n" for position in range(0, len(data), 16))
    return "".join(lines)


def test_the_dumps_are_what_is_written(tmp_path: Path) -> None:
    """Log, offset index and time index, byte for byte."""
    dumps = re.findall(r"^```hexdump\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert dumps == [hexdump(data) for data in written_files(tmp_path)]


def test_the_pieces_make_up_the_first_batch(tmp_path: Path) -> None:
    """The rows of the table follow each other without a gap, and hold the bytes of the file."""
    log = written_files(tmp_path)[0]
    position = 0
    for start, piece in re.findall(r"^\| (0x[0-9a-f]+) \| `([0-9a-f ]+)` \|", PAGE, re.MULTILINE):
        assert int(start, 16) == position
        assert bytes.fromhex(piece) == log[position : position + len(bytes.fromhex(piece))]
        position += len(bytes.fromhex(piece))
    assert position == decode_header(log).size_bytes
