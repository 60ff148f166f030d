"""Opening a data directory: replay the metadata log, open every partition it names, and make sure of what was recovered.

Nothing is served before `open_data` returns: what a recovery found lies in the page cache and may not be on the disk, so
it is flushed first (docs/durability.md). A partition that cannot be opened is offline, with the reason, and the others
serve. A directory that belongs to no topic is set aside unless the metadata log says that its topic was deleted. The
metadata log is flushed before anything else is touched: a deletion that it may yet lose must take no records.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import attrs

from minibroker.config.layers import restored
from minibroker.config.settings import BrokerSettings
from minibroker.config.topic_settings import TopicSettings, resolve
from minibroker.protocol.errors import KafkaStorageError
from minibroker.records.record import read_records
from minibroker.storage.directory import DataDirectory
from minibroker.storage.errors import CorruptLog, DiskFull, StorageError, SyncFailed
from minibroker.storage.files import (
    DELETE,
    PARTITION_METADATA,
    STRAY,
    encode_partition_metadata,
    hidden_name,
    parse_deleted_name,
    partition_name,
)
from minibroker.storage.filesystem import FileSystem, replace_file
from minibroker.storage.log import FlushPoint, Log
from minibroker.storage.log_checkpoint import ORIGIN, LogCheckpoint
from minibroker.storage.recovery import topic_id_in
from minibroker.storage.segment import Segment
from minibroker.storage.settings import LogSettings
from minibroker.storage.tail import RecoveryReport
from minibroker.topics.catalog import Catalog, Topic
from minibroker.topics.clock import Clock
from minibroker.topics.flusher import Flusher
from minibroker.topics.log_policy import batch_limits, log_settings
from minibroker.topics.metadata import MetadataState
from minibroker.topics.names import CLUSTER_METADATA, CONSUMER_OFFSETS
from minibroker.topics.partition import Partition
from minibroker.topics.syncer import InlineSyncer

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000
METADATA_TOPIC_ID = UUID(int=1)
"""The id that Kafka gives this topic."""
METADATA_CONFIGS = {"cleanup.policy": "compact", "flush.messages": "1", "segment.bytes": str(16 << 20)}
FLUSH_PORTION = 64
"""How many logs that are recovered may have files open until they are synced."""


@attrs.define(eq=False, kw_only=True)
class Data:
    """An open data directory."""

    directory: DataDirectory
    settings: BrokerSettings
    """What the broker was started with; what may change while it runs is in the catalog."""
    flusher: Flusher
    clock: Clock
    reports: list[RecoveryReport] = attrs.field(factory=list)
    """Of the logs that were not as the last checkpoint left them."""
    removals: list[str] = attrs.field(factory=list)
    """Hidden directories of deleted partitions, whose deletion is durable: maintenance removes them."""
    is_open: bool = False
    """Whether all that the metadata log names was opened: what is opened from then on is new."""
    catalog: Catalog = attrs.field(init=False)
    _recovered: list[Log] = attrs.field(init=False, factory=list)
    """Logs whose recovery is not durable yet."""
    _ends: list[tuple[Log, int]] = attrs.field(init=False, factory=list)
    """Logs whose directory is gone, and where they ended."""

    @property
    def fs(self) -> FileSystem:
        """Where the files are."""
        return self.directory.fs

    def logs(self) -> list[Log]:
        """The logs of all partitions."""
        return [partition.log for partition in self.catalog.partitions()]

    def save_checkpoint(self) -> None:
        """Write the checkpoint at once, for start and end. Raises StorageError."""
        self.directory.checkpoint.note_date(self.clock.reached_ms())
        self.directory.checkpoint.save(self.logs())

    def log_starts(self) -> Iterator[tuple[Log, int]]:
        """What was deleted from partitions, or lost with their directory: of each the first offset that was not."""
        yield from self._ends
        for (topic_id, index), offset in self.catalog.state.log_starts.items():
            topic = self.catalog.topic_by_id(topic_id)
            if topic is not None and index < len(topic.partitions):
                yield topic.partitions[index].log, offset

    def mark_all_dirty(self) -> None:
        """Have the next flush round cover whatever is not durable: one round is cheaper than a flush per log."""
        for partition in self.catalog.partitions():
            if partition.log.failure is None:
                self.flusher.mark_dirty(partition)

    def close(self) -> None:
        """Mark an orderly end: everything has been flushed. Raises StorageError."""
        for log in self.logs():
            if log.failure is None:
                log.close()
        self.save_checkpoint()
        self.directory.mark_clean()

    # -- partitions

    def open_partition(
        self, topic: str, topic_id: UUID, index: int, settings: TopicSettings, broker: BrokerSettings
    ) -> Partition:
        """Open a partition's directory, or begin a new one. Raises KafkaStorageError for one that is new."""
        name = partition_name(topic, index)
        path = f"{self.directory.path}/{name}"
        policy = log_settings(settings, broker)
        try:
            log = self._open_log(name, path, topic_id, policy)
        except SyncFailed:
            raise
        except StorageError as error:
            if self.is_open:
                raise KafkaStorageError(f"{name} cannot be made: {error}") from error
            logger.error("%s is offline: %s", name, error)
            log = Log(self.fs, path, policy, topic_id, [Segment(self.fs, path, 0)], 0, 0, ORIGIN)
            log.fail(error)
        return Partition(
            topic=topic,
            topic_id=topic_id,
            index=index,
            log=log,
            settings=settings,
            limits=batch_limits(settings, broker),
            flusher=self.flusher,
            clock=self.clock,
        )

    def _open_log(self, name: str, path: str, topic_id: UUID, policy: LogSettings) -> Log:
        now_ms = self.clock.now_ms()
        if self.fs.exists(path):
            checkpoint, found = self.directory.checkpoint.of(name), topic_id_in(self.fs, path)
            if self._belongs(topic_id, found, checkpoint):
                if found != topic_id:
                    with contextlib.suppress(DiskFull):  # the next start tries again
                        replace_file(self.fs, f"{path}/{PARTITION_METADATA}", encode_partition_metadata(topic_id))
                log, report = Log.open(self.fs, path, policy, checkpoint, now_ms, topic_id=topic_id)
                if not report.is_clean:
                    self.reports.append(report)
                    self._recovered.append(log)
                    if len(self._recovered) >= FLUSH_PORTION:
                        self._flush_recovered()
                return log
            if found in {record.id for record in self.catalog.state.topics.values()}:
                raise StorageError(f"{path} is another topic's: this file system ignores case")
            self._move_away(name, found)
        known = self.directory.checkpoint.of(name)
        self.directory.checkpoint.forget(name)
        log = Log.create(self.fs, path, policy, topic_id, now_ms)
        if known is not None and known.topic_id == topic_id and known.durable.offset:
            self._miss(log, known.durable.offset)
        return log

    def _miss(self, log: Log, end_offset: int) -> None:
        """Say that a directory is gone. What is written next goes on behind what was in it. Raises CorruptLog."""
        topic = log.name.rpartition("-")[0]
        if topic == CLUSTER_METADATA:
            raise CorruptLog(f"{log.directory} is missing, which says what topics there are")
        if topic == CONSUMER_OFFSETS:
            logger.warning("%s is missing: its groups begin anew", log.directory)
            return
        logger.error("%s is missing: what it had below offset %d is lost", log.directory, end_offset)
        self._ends.append((log, end_offset))

    def _flush_recovered(self) -> None:
        """Let go of the descriptors of what is recovered: there may be more logs than descriptors. Raises SyncFailed."""
        logs, self._recovered = self._recovered, []
        flushes = _begin_flushes(logs)
        InlineSyncer(self.fs).try_sync_now([point for _, point in flushes])
        for log, point in flushes:
            log.complete_flush(point)
            log.active.rest()

    def _belongs(self, topic_id: UUID, found: UUID | None, checkpoint: LogCheckpoint | None) -> bool:
        """Whether a directory of the right name is this topic's, and not what is left of another."""
        if self.is_open:
            return False
        if topic_id == METADATA_TOPIC_ID:
            return True
        known = {found, checkpoint.topic_id if checkpoint is not None else None} - {None}
        return topic_id in known or not known  # without any, its name is all there is to go by

    def _move_away(self, name: str, topic_id: UUID | None) -> None:
        """Take a directory out of sight: to be removed if its topic is known to be deleted, else set aside.

        Only once the deletion is durable. Raises StorageError.
        """
        root = self.directory.path
        kind = DELETE if topic_id in self.catalog.state.deleted_ids else STRAY
        names = (hidden_name(name, topic_id or UUID(int=0), kind, number) for number in itertools.count())
        hidden = next(path for path in (f"{root}/{free}" for free in names) if not self.fs.exists(path))
        self.fs.rename(f"{root}/{name}", hidden)
        self.directory.checkpoint.forget(name)
        if kind == DELETE:
            self.removals.append(hidden)
        else:
            logger.warning("no topic owns the directory %s: set aside as %s", name, hidden)

    def remove_topic(self, topic: Topic) -> None:
        """Take a deleted topic's directories out of sight; its deletion is durable, and nobody has its name yet."""
        try:
            for partition in topic.partitions:
                if self.fs.exists(partition.log.directory):
                    self._move_away(partition.log.name, topic.id)
        except StorageError as error:
            logger.error("%s is deleted, but directories of it stay until the next start: %s", topic.name, error)
        else:
            self.catalog.state.deleted_ids.discard(topic.id)

    def move_strays_away(self) -> None:
        """Set aside, or have removed, the directories that no topic in the catalog owns."""
        known = {partition.log.name for partition in self.catalog.partitions()}
        for topic, index in self.directory.partitions():
            name = partition_name(topic, index)
            if name not in known:
                try:
                    self._move_away(name, topic_id_in(self.fs, f"{self.directory.path}/{name}"))
                except StorageError as error:
                    logger.error("no topic owns the directory %s, which stays where it is: %s", name, error)

    def take_up_removals(self, state: MetadataState) -> None:
        """Go on with what an earlier life had begun to remove, unless its topic is there after all. Raises StorageError."""
        root, names = self.directory.path, {record.id: name for name, record in state.topics.items()}
        for hidden in self.fs.list_directories(root):
            parsed = parse_deleted_name(hidden)
            if parsed is None:
                continue
            topic_id, index = parsed
            if topic_id not in names:
                self.removals.append(f"{root}/{hidden}")
                continue
            name = partition_name(names[topic_id], index)
            logger.error("%s is the directory %s of a topic that was not deleted", hidden, name)
            if not self.fs.exists(f"{root}/{name}"):
                self.fs.rename(f"{root}/{hidden}", f"{root}/{name}")
                self.directory.checkpoint.forget(name)
                self.directory.checkpoint.doubt_unknown((name,))


async def open_data(
    fs: FileSystem, settings: BrokerSettings, flusher: Flusher, clock: Clock, new_id: Callable[[], UUID]
) -> Data:
    """Open the data directory, everything recovered and durable. Raises DirectoryError, SyncFailed, StorageError."""
    new_cluster_id = base64.urlsafe_b64encode(new_id().bytes).rstrip(b"=").decode()
    directory = DataDirectory.open(fs, settings.log_dirs, new_cluster_id)
    _begin_life(clock, directory)
    data = Data(directory=directory, settings=settings, flusher=flusher, clock=clock)
    state = MetadataState()
    metadata = data.open_partition(
        CLUSTER_METADATA, METADATA_TOPIC_ID, 0, resolve(METADATA_CONFIGS, settings), settings
    )
    _replay(metadata.log, state)
    await _flush(flusher, [metadata.log])
    data.take_up_removals(state)
    data.catalog = Catalog(
        metadata=metadata,
        state=state,
        cluster_id=directory.cluster_id,
        layers=restored(settings, state.broker_configs.own, state.broker_configs.cluster),
        flusher=flusher,
        clock=clock,
        new_id=new_id,
        open_partition=data.open_partition,
        remove_topic=data.remove_topic,
        removals=data.removals,
    )
    data.catalog.add(
        Topic(
            name=CLUSTER_METADATA,
            id=METADATA_TOPIC_ID,
            configs=METADATA_CONFIGS,
            settings=metadata.settings,
            partitions=[metadata],
        )
    )
    for name, record in state.topics.items():
        data.catalog.open_topic(name, record)
    data.is_open = True
    data.move_strays_away()
    for log, offset in data.log_starts():
        if offset > log.log_end_offset:  # what was deleted is never given out again
            _continue_at(log, offset, clock.now_ms())
    await _flush(flusher, data.logs())
    for log, offset in data.log_starts():
        if log.failure is None:
            log.advance_log_start(offset)
    try:
        data.save_checkpoint()
    except DiskFull as error:
        logger.warning("the broker starts on a full disk, for consumers and retention: %s", error)
    return data


def _continue_at(log: Log, offset: int, now_ms: int) -> None:
    try:
        if log.failure is None:
            log.continue_at(offset, now_ms)
    except StorageError as error:
        logger.error("%s is offline: %s", log.name, error)
        log.fail(error)


def _begin_life(clock: Clock, directory: DataDirectory) -> None:
    clock.begin(directory.checkpoint.date_ms)
    if clock.doubted_ms >= DAY_MS:
        logger.warning(
            "the date is %.1f days later than when a broker last ran here: if that is wrong, set the clock right within "
            "%.1f hours, for then old records begin to be deleted",
            clock.doubted_ms / DAY_MS,
            clock.doubted_s / 3600,
        )


def _replay(log: Log, state: MetadataState) -> None:
    """Replay the metadata log. Raises StorageError: without it nothing is known, and nothing can be served."""
    if log.failure is not None:
        raise log.failure
    for _, batch in log.read_batches(log.log_start_offset, log.log_end_offset):
        for record in read_records(batch, max_bytes=log.settings.max_decompressed_bytes):
            assert record.key is not None, "the metadata log is keyed"
            state.replay(record.key, record.value)
    if log.damaged:  # the reading goes around damage, and takes note of what it finds
        raise CorruptLog(f"{log.directory} is damaged: {log.damaged[0]}")


async def _flush(flusher: Flusher, logs: Sequence[Log]) -> None:
    """Sync what recovery found or made. Raises SyncFailed."""
    flushes = _begin_flushes(logs)
    if flushes:
        await flusher.syncer.sync([point for _, point in flushes])
        for log, point in flushes:
            log.complete_flush(point)


def _begin_flushes(logs: Sequence[Log]) -> list[tuple[Log, FlushPoint]]:
    return [(log, point) for log in logs if log.failure is None and (point := log.begin_flush()) is not None]
