"""The checkpoint file of a data directory: one line per log, so that a restart reads only what is younger.

    minibroker-checkpoint 1 <number of lines that follow>
    <CRC-32C of what follows, 8 hex digits> <directory name> <JSON of LogCheckpoint>
    …
    <CRC-32C of what follows> date <ms since the epoch>     the date that the broker's clock has reached

It is replaced as a whole. Only lines of logs that changed are made anew; five thousand idle logs cost one copy. A
damaged line makes one log doubtful, not the others: for that log nothing is known to be durable, so everything is read,
and what is damaged is quarantined, never cut.

Writing is in three steps, as flushing is: `begin` in the logs' thread, `write` in any thread, `complete` in the logs'
thread. After it the logs may remove the files that the new log start has made superfluous. So a full disk gets space only
if there is some for a checkpoint: a file beside it, larger than the last one, is given up for that and made again later.
"""

import contextlib
import logging
from collections.abc import Iterable

import attrs
from fastcrc import crc32

from minibroker.storage.errors import DiskFull, MissingFile, StorageError, Unreadable
from minibroker.storage.files import CHECKPOINT, RESERVE
from minibroker.storage.filesystem import FileSystem, parent_directory, replace_file
from minibroker.storage.log import Log
from minibroker.storage.log_checkpoint import NEVER_CHECKPOINTED, LogCheckpoint

logger = logging.getLogger(__name__)

_MAGIC = b"minibroker-checkpoint 1 "
_DOUBT = b"null"
_DATE = "date"
"""No directory of a partition has this name."""
DATE_STEP_MS = 60_000
"""By so much the date must have changed to be worth a write."""
LEAST_RESERVE_BYTES = 1 << 16


@attrs.frozen
class PendingCheckpoint:
    """A checkpoint that is being written."""

    lines: dict[str, bytes]
    logs: tuple[tuple[Log, LogCheckpoint], ...]
    """The logs that changed, and what the file will say of them."""


@attrs.define(eq=False)
class CheckpointFile:
    """The file and its lines."""

    fs: FileSystem
    path: str
    is_whole: bool = True
    """Whether every log that was ever written is there; if not, a log that is missing is doubtful."""
    _lines: dict[str, bytes] = attrs.field(factory=dict)
    """Directory name -> JSON."""
    _needs_write: bool = False
    _collected: list[tuple[Log, LogCheckpoint]] = attrs.field(factory=list)
    _reserved: int = 0
    """Bytes in the file that keeps space for the next write, as far as is known."""

    @classmethod
    def load(cls, fs: FileSystem, data_directory: str, *, is_new: bool = False) -> "CheckpointFile":
        """Read the file; what is damaged or missing is left out. In a new data directory it may be missing."""
        path = f"{data_directory}/{CHECKPOINT}"
        try:
            content = fs.read(path)
        except (MissingFile, Unreadable) as error:
            if not is_new:
                logger.warning("%s: every log is read from its beginning", error)
            return cls(fs, path, is_whole=is_new, needs_write=True)
        head, *lines = content.split(b"\n")
        file = cls(fs, path, is_whole=False)
        for line in lines:
            name, encoded = _parse_line(line)
            if name is not None:
                file._lines[name] = encoded
        file.is_whole = head == _MAGIC + str(len(file._lines)).encode()
        if not file.is_whole:
            logger.warning("%s is damaged: the logs it does not know are read from their beginning", path)
        return file

    def of(self, name: str) -> LogCheckpoint | None:
        """What is known of the log in a directory; None means doubt: it may have been here."""
        line = self._lines.get(name)
        if line is None:
            return NEVER_CHECKPOINTED if self.is_whole else None
        return None if line == _DOUBT else LogCheckpoint.decode(line)

    def names(self) -> set[str]:
        """The directories of the logs that are known."""
        return self._lines.keys() - {_DATE}

    @property
    def date_ms(self) -> int | None:
        """The date that the broker's clock had reached, at most a minute earlier; None if that is not known."""
        line = self._lines.get(_DATE)
        return None if line is None else int(line)

    def note_date(self, date_ms: int) -> None:
        """Have the date in the next write; there will be one."""
        if date_ms - (self.date_ms or 0) >= DATE_STEP_MS:
            self._lines[_DATE] = b"%d" % date_ms
            self._needs_write = True

    def doubt_unknown(self, names: Iterable[str]) -> None:
        """Of these logs all must be known; those that are not stay doubtful until they were opened."""
        for name in names:
            self._lines.setdefault(name, _DOUBT)
        self.is_whole = True
        self._needs_write = True

    def forget(self, name: str) -> None:
        """Leave out a log that was deleted, from the next write on."""
        if self._lines.pop(name, None) is not None:
            self._needs_write = True

    def collect(self, logs: Iterable[Log]) -> None:
        """Part of `begin`, for whoever has so many logs (15 µs for each that changed) that it should not be one step."""
        for log in logs:
            state = log.begin_checkpoint()
            if state is not None:
                self._lines[log.name] = state.encode()
                self._collected.append((log, state))

    def begin(self, logs: Iterable[Log]) -> PendingCheckpoint | None:
        """Collect what changed; None if nothing did."""
        self.collect(logs)
        changed, self._collected = self._collected, []
        if not changed and not self._needs_write:
            return None
        self._needs_write = False
        return PendingCheckpoint(dict(self._lines), tuple(changed))

    def write(self, pending: PendingCheckpoint) -> None:
        """Replace the file, durably. In any thread, one at a time. Raises StorageError."""
        lines = [_MAGIC + str(len(pending.lines)).encode()]
        lines += [_make_line(name, line) for name, line in pending.lines.items()]
        content = b"\n".join(lines)
        try:
            replace_file(self.fs, self.path, content)
        except DiskFull:
            if not self.fs.exists(self._reserve_path):
                raise
            self.fs.unlink(self._reserve_path)
            self._reserved = 0
            replace_file(self.fs, self.path, content)
        else:
            self._keep_reserve(max(LEAST_RESERVE_BYTES, 1 << len(content).bit_length()))

    @property
    def _reserve_path(self) -> str:
        return f"{parent_directory(self.path)}/{RESERVE}"

    def _keep_reserve(self, size: int) -> None:
        if self._reserved < size:
            with contextlib.suppress(StorageError):  # the next checkpoint tries again
                file = self.fs.open(self._reserve_path, create=True)
                if file.size() < size:
                    file.pwrite(bytes(size), 0)
                self._reserved = size

    def complete(self, pending: PendingCheckpoint) -> None:
        """Tell the logs that it is durable. One whose old files cannot be removed holds up no other."""
        for log, state in pending.logs:
            try:
                log.complete_checkpoint(state)
            except StorageError as error:
                log.needs_checkpoint = True
                logger.error("old files of %s stay until the next checkpoint: %s", log.name, error)

    def abandon(self, pending: PendingCheckpoint) -> None:
        """After a failed `write` (a full disk): the next attempt includes these logs again."""
        self._needs_write = True
        for log, _ in pending.logs:
            log.needs_checkpoint = True

    def save(self, logs: Iterable[Log]) -> None:
        """All three steps at once."""
        pending = self.begin(logs)
        if pending is not None:
            try:
                self.write(pending)
            except Exception:
                self.abandon(pending)
                raise
            self.complete(pending)


def _make_line(name: str, encoded: bytes) -> bytes:
    rest = b"%b %b" % (name.encode(), encoded)
    return b"%08x %b" % (crc32.iscsi(rest), rest)


def _parse_line(line: bytes) -> tuple[str | None, bytes]:
    crc, _, rest = line.partition(b" ")
    if crc != b"%08x" % crc32.iscsi(rest):
        return None, b""
    name, _, encoded = rest.partition(b" ")
    return name.decode(), encoded
