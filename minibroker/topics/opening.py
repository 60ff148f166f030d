"""Opening a data directory: replay the metadata log, open every partition it names, and make sure of what was recovered.

Nothing is served before `open_data` returns: what a recovery found lies in the page cache and may not be on the disk, so
it is flushed first (docs/durability.md). A partition that cannot be opened is offline, with the reason, and the others
serve. A directory that belongs to no topic is set aside unless the metadata log says that its topic was deleted.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from uuid import UUID

import attrs

from minibroker.config.layers import restored
from minibroker.config.settings import BrokerSettings
from minibroker.config.topic_settings import TopicSettings, resolve
from minibroker.records.record import read_records
from minibroker.storage.directory import DataDirectory
from minibroker.storage.errors import CorruptLog, MissingFile, StorageError
from minibroker.storage.files import (
    PARTITION_METADATA,
    decode_partition_metadata,
    deleted_name,
    partition_name,
    stray_name,
)
from minibroker.storage.filesystem import FileSystem
from minibroker.storage.log import Log
from minibroker.storage.log_checkpoint import ORIGIN
from minibroker.storage.segment import Segment
from minibroker.storage.settings import LogSettings
from minibroker.storage.tail import RecoveryReport
from minibroker.topics.catalog import Catalog, Topic
from minibroker.topics.clock import Clock
from minibroker.topics.flusher import Flusher
from minibroker.topics.log_policy import batch_limits, log_settings
from minibroker.topics.metadata import MetadataState
from minibroker.topics.names import CLUSTER_METADATA
from minibroker.topics.partition import Partition

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000
METADATA_TOPIC_ID = UUID(int=1)
"""The id that Kafka gives this topic."""
METADATA_CONFIGS = {"cleanup.policy": "compact", "flush.messages": "1", "segment.bytes": str(16 << 20)}


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
    """Hidden directories of deleted partitions: maintenance removes them."""
    catalog: Catalog = attrs.field(init=False)

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
        """Open a partition's directory, or make one."""
        name = partition_name(topic, index)
        path = f"{self.directory.path}/{name}"
        policy = log_settings(settings, broker)
        try:
            log = self._open_log(name, path, topic_id, policy)
        except StorageError as error:
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
            checkpoint = self.directory.checkpoint.of(name)
            if (checkpoint is not None and checkpoint.topic_id == topic_id) or self._belongs(name, path, topic_id):
                log, report = Log.open(self.fs, path, policy, checkpoint, now_ms, topic_id=topic_id)
                if not report.is_clean:
                    self.reports.append(report)
                return log
        return Log.create(self.fs, path, policy, topic_id, now_ms)

    def _belongs(self, name: str, path: str, topic_id: UUID) -> bool:
        """Whether a directory is this topic's; one of another topic, deleted or unknown, is moved out of the way."""
        found = self._topic_id_in(path)
        if found is None or found == topic_id:
            return True  # its name is all there is to go by: recovery writes the id anew
        self._move_away(name, found)
        return False

    def _topic_id_in(self, path: str) -> UUID | None:
        try:
            return decode_partition_metadata(self.fs.read(f"{path}/{PARTITION_METADATA}"))
        except MissingFile:
            return None

    def _move_away(self, name: str, topic_id: UUID) -> None:
        """Take a directory out of sight: to be removed if its topic is known to be deleted, else set aside."""
        root = self.directory.path
        if topic_id in self.catalog.state.deleted_ids:
            hidden = f"{root}/{deleted_name(name, topic_id)}"
            self.removals.append(hidden)
        else:
            hidden = f"{root}/{stray_name(name, topic_id)}"
            logger.warning("no topic owns the directory %s: set aside as %s", name, hidden)
        self.fs.rename(f"{root}/{name}", hidden)
        self.directory.checkpoint.forget(name)

    def remove_topic(self, topic: Topic) -> None:
        """Take a deleted topic's directories out of sight; its deletion is durable."""
        try:
            for partition in topic.partitions:
                if self._topic_id_in(partition.log.directory) == topic.id:  # else a new namesake has moved it away
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
                found = self._topic_id_in(f"{self.directory.path}/{name}")
                self._move_away(name, found or UUID(int=0))


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
    data.move_strays_away()
    await _flush_recovered(data)
    for (topic_id, index), offset in state.log_starts.items():
        topic = data.catalog.topic_by_id(topic_id)
        if topic is not None and index < len(topic.partitions):
            log = topic.partitions[index].log
            log.advance_log_start(min(offset, log.durable_end_offset))
    data.save_checkpoint()
    return data


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


async def _flush_recovered(data: Data) -> None:
    """Sync what recovery found or made. Raises SyncFailed."""
    flushes = [(log, point) for log in data.logs() if log.failure is None and (point := log.begin_flush()) is not None]
    if flushes:
        await data.flusher.syncer.sync([point for _, point in flushes])
        for log, point in flushes:
            log.complete_flush(point)
