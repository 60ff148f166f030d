"""The catalog: which topics there are, with their ids, settings and partitions.

Its truth is the log `__cluster_metadata`. A change is decided, appended there and replayed, in one synchronous step; the
answer to whoever asked waits for the flush round (`flush_ticket`). Directories follow: a new partition's is made with its
first append, a deleted topic's are removed once its tombstone is durable.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import attrs
import trio

from minibroker.config.errors import ConfigError
from minibroker.config.layers import LayeredSettings
from minibroker.config.settings import BrokerSettings
from minibroker.config.topic_settings import TopicSettings, resolve
from minibroker.protocol.errors import (
    InvalidConfig,
    InvalidPartitions,
    InvalidRequest,
    InvalidTopicException,
    KafkaError,
    KafkaStorageError,
    TopicAlreadyExists,
    UnknownTopicOrPartition,
)
from minibroker.storage.errors import LogOffline
from minibroker.topics.clock import Clock
from minibroker.topics.flusher import Flusher
from minibroker.topics.metadata import (
    BROKER_CONFIGS_KEY,
    TOPIC_PREFIX,
    BrokerConfigsRecord,
    LogStartRecord,
    MetadataRecord,
    MetadataState,
    TopicRecord,
    encode_record,
    log_start_key,
)
from minibroker.topics.names import (
    CLUSTER_METADATA,
    INTERNAL_TOPICS,
    MAX_NAME_LENGTH,
    check_collision,
    check_topic_name,
    collision_key,
)
from minibroker.topics.partition import Partition

logger = logging.getLogger(__name__)

MAX_CONFIG_CHARACTERS = 1_000
STEPS_PER_PARTITION: Final = 5
"""What making one costs."""
T = TypeVar("T")


@attrs.define(eq=False, kw_only=True)
class Topic:
    """A topic as it is now."""

    name: str
    id: UUID
    configs: Mapping[str, str]
    """The settings that it was given itself, as text."""
    settings: TopicSettings
    partitions: list[Partition]

    @property
    def is_internal(self) -> bool:
        """Whether it is the broker's own."""
        return self.name in INTERNAL_TOPICS

    def partition(self, index: int) -> Partition:
        """Return a partition; raises UnknownTopicOrPartition."""
        if not 0 <= index < len(self.partitions):
            raise UnknownTopicOrPartition(f"{self.name} has {len(self.partitions)} partitions, and no {index}")
        return self.partitions[index]


OpenPartition = Callable[[str, UUID, int, TopicSettings, BrokerSettings], Partition]
"""(topic, topic id, index, settings, the broker's settings) -> its partition, made if it is not there."""

DeletionListener = Callable[[Topic, Callable[[], None]], None]
"""(topic, release) -> calls `release`, then or later, when the name may be used again."""


@attrs.define(eq=False, kw_only=True)
class Catalog:
    """See the module. Made by `minibroker.topics.opening`."""

    metadata: Partition
    """The only partition of `__cluster_metadata`."""
    state: MetadataState
    cluster_id: str
    layers: LayeredSettings
    """The broker's settings; some change while it runs."""
    flusher: Flusher
    clock: Clock
    new_id: Callable[[], UUID]
    open_partition: OpenPartition
    remove_topic: Callable[[Topic], None]
    """Removes the files of a deleted topic; called once the deletion is durable."""
    short_of_space: bool = False
    """Whether producers are to try again later, because less is free on the disk than is kept in reserve."""
    room_bytes: float = math.inf
    """How much may be written for groups until the free space is looked at again: the last of it is the broker's own."""
    topics: dict[str, Topic] = attrs.field(factory=dict)
    """All topics that clients can name, `__cluster_metadata` included."""
    leaving: set[str] = attrs.field(factory=set)
    """Names of topics whose deletion is not durable yet: a power cut may bring them back, so their directories stay.
    And of those of which the listener has not said yet that the name may be used again."""
    removals: list[str] = attrs.field(factory=list)
    """Directories that are still to be removed: as long as they are there, they count as partitions."""
    _by_id: dict[UUID, Topic] = attrs.field(factory=dict)
    _by_collision_key: dict[str, str] = attrs.field(factory=dict)
    _partition_count: int = 0
    """Of all topics, of those that are leaving, and of those that are being made."""
    _left: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _deletion_listener: DeletionListener = lambda topic, release: release()

    @property
    def settings(self) -> BrokerSettings:
        """The broker's settings as they are now."""
        return self.layers.effective

    # -- looking up

    def listed_topics(self) -> list[Topic]:
        """The topics that are told to whoever asks for all: Kafka's own metadata log is not listed either."""
        return [topic for name, topic in self.topics.items() if name != CLUSTER_METADATA]

    def topic(self, name: str) -> Topic:
        """Return a topic; raises UnknownTopicOrPartition."""
        topic = self.topics.get(name)
        if topic is None:
            # Quoted up to where it could be one: a request asks for each of ten thousand partitions of a name of 32 KB.
            raise UnknownTopicOrPartition(f"there is no topic {name[:MAX_NAME_LENGTH]!r}")
        return topic

    def topic_by_id(self, topic_id: UUID) -> Topic | None:
        """Return the topic with that id, if there is one."""
        return self._by_id.get(topic_id)

    def partition(self, topic: str, index: int) -> Partition:
        """Return a partition; raises UnknownTopicOrPartition."""
        return self.topic(topic).partition(index)

    def partitions(self) -> Iterator[Partition]:
        """All partitions of all topics."""
        for topic in self.topics.values():
            yield from topic.partitions

    def flush_ticket(self) -> int:
        """The flush round that makes everything that this catalog says durable; 0 if it is."""
        return self.metadata.flush_ticket()

    # -- changing

    def record(self, key: str, record: MetadataRecord | None) -> None:
        """Append a record to the metadata log and replay it. Raises KafkaStorageError."""
        self.record_all({key: record})

    def record_all(self, changes: Mapping[str, MetadataRecord | None]) -> None:
        """The same with several, of which either all are there afterwards or none: the only way anything changes."""
        records = [(key.encode(), encode_record(record)) for key, record in changes.items()]
        self.metadata.append_records(records, self.clock.now_ms())
        for name, value in records:
            self.state.replay(name, value)

    def check_new_name(self, name: str) -> None:
        """Raise InvalidTopicException or TopicAlreadyExists unless a topic of this name can be made."""
        check_topic_name(name)
        if name in self.topics or name in self.leaving:
            raise TopicAlreadyExists(f"the topic {name!r} exists{' still' if name in self.leaving else ''}")
        check_collision(name, self._by_collision_key)

    def check_new_topic(self, name: str, partitions: int, configs: Mapping[str, str]) -> TopicSettings:
        """Return the settings of a topic that could be made; raises what `create_topic` raises."""
        self.check_new_name(name)
        if partitions < 1:
            raise InvalidPartitions(f"expected at least 1 partition, found {partitions}")
        self._check_partition_count(partitions)
        _check_lengths(configs, InvalidConfig)
        return self.check_configs(configs)

    def create_topic(self, name: str, partitions: int, configs: Mapping[str, str] | None = None) -> Topic:
        """Make a topic at once. Raises what `making_topic` does."""
        return at_once(self.making_topic(name, partitions, configs))

    def making_topic(
        self, name: str, partitions: int, configs: Mapping[str, str] | None = None
    ) -> Generator[int, None, Topic]:
        """Make a topic in steps, of which the last one does all or nothing.

        Raises InvalidTopicException for an illegal or colliding name, TopicAlreadyExists, InvalidPartitions,
        InvalidConfig, KafkaStorageError.
        """
        configs = dict(configs or {})
        settings = self.check_new_topic(name, partitions, configs)
        record = TopicRecord(id=self.new_id(), partitions=partitions, configs=configs)
        made = yield from self._making_partitions(name, record.id, range(partitions), settings)
        settings = self.check_new_topic(name, partitions, configs)  # others had their turn
        self.record(TOPIC_PREFIX + name, record)
        topic = Topic(name=name, id=record.id, configs=configs, settings=settings, partitions=made)
        self._settle(topic, made)
        self.add(topic)
        logger.info("created topic %s with %d partitions", name, partitions)
        return topic

    def _making_partitions(
        self, name: str, topic_id: UUID, indexes: range, settings: TopicSettings
    ) -> Generator[int, None, list[Partition]]:
        """New partitions, of which nobody knows yet. Raises KafkaStorageError."""
        made = []
        self._partition_count += len(indexes)
        try:
            for index in indexes:
                made.append(self.open_partition(name, topic_id, index, settings, self.settings))
                yield STEPS_PER_PARTITION
        finally:
            self._partition_count -= len(indexes)
        return made

    def _settle(self, topic: Topic, made: Sequence[Partition]) -> None:
        """Have new partitions take over what settings have changed while they were made: the first knows the oldest."""
        if made[0].settings != topic.settings:
            for partition in made:
                partition.apply_settings(topic.settings, self.settings)

    def auto_create(self, name: str) -> Topic:
        """Make a topic that a client has named; raises UnknownTopicOrPartition where settings forbid it."""
        check_topic_name(name)
        if not self.settings.auto_create_topics_enable:
            raise UnknownTopicOrPartition(f"there is no topic {name!r}, and auto.create.topics.enable is false")
        if name in INTERNAL_TOPICS:
            raise UnknownTopicOrPartition(f"{name} is made by the broker when it is needed")
        if name in self.leaving:
            raise UnknownTopicOrPartition(f"{name} is being deleted")
        return self.create_topic(name, self.settings.num_partitions)

    def create_partitions(self, name: str, total: int) -> None:
        """Let a topic have `total` partitions at once. Raises what `making_more_partitions` does."""
        at_once(self.making_more_partitions(name, total))

    def making_more_partitions(self, name: str, total: int) -> Generator[int, None, None]:
        """Let a topic have `total` partitions, in steps, of which the last one does all or nothing.

        Raises what `check_more_partitions` does, and KafkaStorageError.
        """
        indexes = range(total - self.check_more_partitions(name, total), total)
        topic = self.topics[name]
        made = yield from self._making_partitions(name, topic.id, indexes, topic.settings)
        if self.check_more_partitions(name, total) != len(indexes) or self.topics[name] is not topic:
            raise InvalidPartitions(f"somebody else has changed {name} meanwhile")
        self.record(TOPIC_PREFIX + name, attrs.evolve(self.state.topics[name], partitions=total))
        self._settle(topic, made)
        topic.partitions.extend(made)
        self._partition_count += len(made)

    def check_more_partitions(self, name: str, total: int) -> int:
        """Return how many partitions a topic lacks that can have `total`.

        Raises UnknownTopicOrPartition, InvalidPartitions, and InvalidTopicException for one of the broker's own: which
        partition has which group depends on their number.
        """
        topic = self.topic(name)
        if topic.is_internal:
            raise InvalidTopicException(f"{name} is the broker's own")
        present = len(topic.partitions)
        if total <= present:
            raise InvalidPartitions(f"{name} has {present} partitions; expected more than that, found {total}")
        self.check_space()
        self._check_partition_count(total - present)
        return total - present

    def alter_configs(self, name: str, configs: Mapping[str, str]) -> None:
        """Replace the settings a topic was given itself. Raises what `check_altered_configs` does, KafkaStorageError."""
        topic = self.check_altered_configs(name, configs)
        if configs == topic.configs:
            return
        self.record(TOPIC_PREFIX + name, attrs.evolve(self.state.topics[name], configs=dict(configs)))
        topic.configs = dict(configs)
        self._apply_settings(topic)

    def check_altered_configs(self, name: str, configs: Mapping[str, str]) -> Topic:
        """Return a topic that could be given these settings.

        Raises UnknownTopicOrPartition, InvalidConfig, and InvalidTopicException for the log that all this is kept in.
        """
        topic = self.topic(name)
        if name == CLUSTER_METADATA:
            raise InvalidTopicException(f"{name} is the broker's own")
        _check_lengths(configs, InvalidConfig)
        self.check_configs(configs)
        return topic

    def alter_broker_configs(self, own: Mapping[str, str], cluster: Mapping[str, str]) -> None:
        """Replace what was changed of the broker's own settings. Raises InvalidRequest, KafkaStorageError."""
        layers = self.check_broker_configs(own, cluster)
        if (own, cluster) == (self.layers.own, self.layers.cluster):
            return
        self.record(BROKER_CONFIGS_KEY, BrokerConfigsRecord(own=dict(own), cluster=dict(cluster)))
        self.layers = layers
        for topic in self.topics.values():
            self._apply_settings(topic)

    def check_broker_configs(self, own: Mapping[str, str], cluster: Mapping[str, str]) -> LayeredSettings:
        """Return what the broker's settings would be; raises InvalidRequest (as Kafka does) if they are not valid."""
        _check_lengths({**own, **cluster}, InvalidRequest)
        try:
            return LayeredSettings(self.layers.static, dict(own), dict(cluster))
        except ConfigError as error:
            raise InvalidRequest(str(error)) from error

    def delete_topic(self, name: str) -> None:
        """Remove a topic with its records. Raises UnknownTopicOrPartition, InvalidTopicException for one of the broker's own."""
        topic = self.topic(name)
        if topic.is_internal:
            raise InvalidTopicException(f"{name} is the broker's own")
        starts = [index for index in range(len(topic.partitions)) if (topic.id, index) in self.state.log_starts]
        self.record_all({TOPIC_PREFIX + name: None, **{log_start_key(topic.id, index): None for index in starts}})
        del self.topics[name], self._by_id[topic.id], self._by_collision_key[collision_key(name)]
        for partition in topic.partitions:
            partition.deleted = True
            partition.log.fail(LogOffline(f"{partition} was deleted"))  # its names may soon be a namesake's
            partition.wake_waiters()
        self.leaving.add(name)
        self.flusher.call_when_durable(self.flush_ticket(), partial(self._finish_deletion, topic))
        logger.info("deleted topic %s", name)

    def _finish_deletion(self, topic: Topic) -> None:
        self.remove_topic(topic)
        self._partition_count -= len(topic.partitions)
        self._deletion_listener(topic, partial(self._release, topic.name))

    def _release(self, name: str) -> None:
        self.leaving.remove(name)
        self._left.unpark_all()

    def on_topic_deleted(self, listener: DeletionListener) -> None:
        """Call `listener`, and no other, with every topic that is deleted from now on, once that is durable."""
        self._deletion_listener = listener

    async def wait_left(self, names: Collection[str]) -> None:
        """Return once none of `names` is that of a topic that is leaving."""
        while not self.leaving.isdisjoint(names):
            await self._left.park()

    def delete_records(self, partition: Partition, before_offset: int) -> None:
        """Hide the records of a partition below an offset, for good. Raises OffsetOutOfRange, KafkaStorageError."""
        if before_offset <= partition.log_start_offset:
            return
        self.record(log_start_key(partition.topic_id, partition.index), LogStartRecord(offset=before_offset))
        partition.log.advance_log_start(before_offset)

    # -- opening

    def open_topic(self, name: str, record: TopicRecord) -> Topic:
        """Make the objects of a topic that is in the metadata log."""
        settings = self.check_configs(record.configs)
        topic = Topic(
            name=name,
            id=record.id,
            configs=record.configs,
            settings=settings,
            partitions=[
                self.open_partition(name, record.id, index, settings, self.settings)
                for index in range(record.partitions)
            ],
        )
        self.add(topic)
        return topic

    def add(self, topic: Topic) -> None:
        """Let clients see a topic."""
        self.topics[topic.name] = self._by_id[topic.id] = topic
        self._by_collision_key[collision_key(topic.name)] = topic.name
        self._partition_count += len(topic.partitions)

    def check_configs(self, configs: Mapping[str, str]) -> TopicSettings:
        """Return the settings of a topic that was given these; raises InvalidConfig."""
        try:
            return resolve(configs, self.settings)
        except ConfigError as error:
            raise InvalidConfig(str(error)) from error

    def _apply_settings(self, topic: Topic) -> None:
        topic.settings = self.check_configs(topic.configs)
        for partition in topic.partitions:
            partition.apply_settings(topic.settings, self.settings)

    def _check_partition_count(self, more: int) -> None:
        """Raise InvalidPartitions if the broker would have more partitions than it is allowed to."""
        limit = self.settings.minibroker_partitions_max
        present = self._partition_count + len(self.removals)
        if present + more > limit:
            raise InvalidPartitions(
                f"minibroker.partitions.max allows {limit}: {present} there (or being deleted), {more} more wanted"
            )

    def check_space(self) -> None:
        """Raise KafkaStorageError if nothing is to be made because the disk is full but for what is kept in reserve.

        To be asked for a client that wants a topic. Not for the broker's own, without which no consumer goes on, nor for
        a batch: it is refused too, but something has to remember that its producer begins with it.
        """
        if self.short_of_space:
            raise KafkaStorageError(
                "the disk is full but for a reserve (minibroker.disk.reserve.bytes): try again later"
            )


def at_once(steps: Generator[int, None, T]) -> T:
    """Take all steps, one after the other; what comes of them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def _check_lengths(configs: Mapping[str, str], error: type[KafkaError]) -> None:
    """Raise `error` for a setting that is longer than any needs to be: it would be kept for ever, and told to everybody."""
    for name, value in configs.items():
        if len(value) > MAX_CONFIG_CHARACTERS:
            raise error(f"{name} expects at most {MAX_CONFIG_CHARACTERS} characters, found {len(value)}")
