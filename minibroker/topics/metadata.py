"""The records of `__cluster_metadata`: what a broker knows beside its partitions' logs, as a compacted log of its own.

Keys are text, values JSON structured strictly with cattrs; a null value is a tombstone. `MetadataState` is what replaying
them yields. It changes only through `replay`, live and at start-up, so a restart cannot differ from what was running.

    key                                 value
    topic/<name>                        {"id", "partitions", "configs"}
    log-start/<topic id>/<partition>    {"offset"}           what DeleteRecords deleted
    producer-ids                        {"next_id"}          ids below it may have been given out
    broker-configs                      {"own", "cluster"}   settings changed while running
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar
from uuid import UUID

import attrs

TOPIC_PREFIX = "topic/"
LOG_START_PREFIX = "log-start/"
PRODUCER_IDS_KEY = "producer-ids"
BROKER_CONFIGS_KEY = "broker-configs"


@attrs.frozen(kw_only=True)
class TopicRecord:
    """A topic: its settings are those it was given itself, as text."""

    id: UUID
    partitions: int
    configs: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class LogStartRecord:
    """Records of a partition below `offset` are deleted."""

    offset: int


@attrs.frozen(kw_only=True)
class ProducerIdsRecord:
    """Producer ids from `next_id` on have never been given out."""

    next_id: int


@attrs.frozen(kw_only=True)
class BrokerConfigsRecord:
    """Broker settings that were changed while it ran, as text: for this broker, and for every one of a cluster."""

    own: dict[str, str] = attrs.field(factory=dict)
    cluster: dict[str, str] = attrs.field(factory=dict)


MetadataRecord = TopicRecord | LogStartRecord | ProducerIdsRecord | BrokerConfigsRecord

T = TypeVar("T")


def log_start_key(topic_id: UUID, partition: int) -> str:
    """The key of a partition's LogStartRecord."""
    return f"{LOG_START_PREFIX}{topic_id}/{partition}"


def encode_record(record: MetadataRecord | None) -> bytes | None:
    """A record's value; None for a tombstone."""
    return None if record is None else _converter().dumps(record)


@cache
def _converter() -> Any:
    from cattrs.preconf.orjson import make_converter

    converter = make_converter(forbid_extra_keys=True)
    for kind in (str, int):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(UUID, lambda value, _: UUID(_exactly(value, str)))
    converter.register_unstructure_hook(UUID, str)
    return converter


def _exactly(value: Any, kind: type[T]) -> T:
    """Structure without coercion: "4" is no number."""
    if type(value) is not kind:
        raise ValueError(f"expected {kind.__name__}, found {value!r}")
    return value


@attrs.define(eq=False)
class MetadataState:
    """What the log says; see the module."""

    topics: dict[str, TopicRecord] = attrs.field(factory=dict)
    log_starts: dict[tuple[UUID, int], int] = attrs.field(factory=dict)
    next_producer_id: int = 0
    broker_configs: BrokerConfigsRecord = attrs.field(factory=BrokerConfigsRecord)
    deleted_ids: set[UUID] = attrs.field(factory=set)
    """Topics that once were, as long as there may be directories of theirs, which may be removed."""

    def replay(self, key: bytes, value: bytes | None) -> None:
        """Take one record over. Raises ValueError for one that no version of ours wrote."""
        name = key.decode()
        try:
            self._replay(name, value)
        except Exception as error:
            raise ValueError(f"expected a record of ours in the metadata log, found {name!r}: {error}") from error

    def _replay(self, name: str, value: bytes | None) -> None:
        if name.startswith(TOPIC_PREFIX):
            self._replay_topic(name.removeprefix(TOPIC_PREFIX), _structure(value, TopicRecord))
        elif name.startswith(LOG_START_PREFIX):
            topic_id, partition = name.removeprefix(LOG_START_PREFIX).split("/")
            record = _structure(value, LogStartRecord)
            if record is None:
                self.log_starts.pop((UUID(topic_id), int(partition)), None)
            else:
                self.log_starts[UUID(topic_id), int(partition)] = record.offset
        elif name == PRODUCER_IDS_KEY:
            self.next_producer_id = _required(value, ProducerIdsRecord).next_id
        elif name == BROKER_CONFIGS_KEY:
            self.broker_configs = _required(value, BrokerConfigsRecord)
        else:
            raise ValueError("this key has no meaning")

    def _replay_topic(self, name: str, record: TopicRecord | None) -> None:
        before = self.topics.pop(name, None)
        if before is not None and (record is None or record.id != before.id):
            self.deleted_ids.add(before.id)
        if record is not None:
            self.topics[name] = record


def _structure(value: bytes | None, cls: type[T]) -> T | None:
    return None if value is None else _required(value, cls)


def _required(value: bytes | None, cls: type[T]) -> T:
    if value is None:
        raise ValueError("it cannot be deleted")
    structured: T = _converter().loads(value, cls)
    return structured
