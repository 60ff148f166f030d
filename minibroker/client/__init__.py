"""A Trio-native Kafka client: producer, consumer, admin. Works against any Kafka.

    from minibroker.client import Producer, Consumer, Admin

Names are imported when they are first used, so a program that only produces does not load the consumer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minibroker.client.admin import Admin as Admin
    from minibroker.client.batches import Delivery as Delivery
    from minibroker.client.batches import RecordMetadata as RecordMetadata
    from minibroker.client.consumer import Consumer as Consumer
    from minibroker.client.coordinator import CommittedOffset as CommittedOffset
    from minibroker.client.descriptions import ClusterDescription as ClusterDescription
    from minibroker.client.descriptions import ConfigEntry as ConfigEntry
    from minibroker.client.descriptions import ConfigSource as ConfigSource
    from minibroker.client.descriptions import GroupDescription as GroupDescription
    from minibroker.client.descriptions import GroupListing as GroupListing
    from minibroker.client.descriptions import LogDirectory as LogDirectory
    from minibroker.client.descriptions import MemberDescription as MemberDescription
    from minibroker.client.descriptions import PartitionLag as PartitionLag
    from minibroker.client.errors import ClientClosed as ClientClosed
    from minibroker.client.errors import ClientError as ClientError
    from minibroker.client.errors import ConnectionFailed as ConnectionFailed
    from minibroker.client.errors import ConnectionLost as ConnectionLost
    from minibroker.client.errors import DeliveryTimeout as DeliveryTimeout
    from minibroker.client.errors import NoOffset as NoOffset
    from minibroker.client.errors import NotSupportedByBroker as NotSupportedByBroker
    from minibroker.client.errors import RequestTimeout as RequestTimeout
    from minibroker.client.metadata import Broker as Broker
    from minibroker.client.metadata import PartitionInfo as PartitionInfo
    from minibroker.client.metadata import TopicInfo as TopicInfo
    from minibroker.client.metadata import TopicPartition as TopicPartition
    from minibroker.client.offsets import EARLIEST as EARLIEST
    from minibroker.client.offsets import LATEST as LATEST
    from minibroker.client.offsets import MAX_TIMESTAMP as MAX_TIMESTAMP
    from minibroker.client.offsets import FoundOffset as FoundOffset
    from minibroker.client.offsets import Isolation as Isolation
    from minibroker.client.partition_state import ConsumerRecord as ConsumerRecord
    from minibroker.client.partition_state import Seek as Seek
    from minibroker.client.partition_state import Start as Start
    from minibroker.client.producer import Producer as Producer
    from minibroker.client.reading import RecordBatch as RecordBatch
    from minibroker.protocol.errors import KafkaError as KafkaError

_HOMES = {
    "admin": "Admin",
    "batches": "Delivery RecordMetadata",
    "consumer": "Consumer",
    "coordinator": "CommittedOffset",
    "descriptions": "ClusterDescription ConfigEntry ConfigSource GroupDescription GroupListing LogDirectory "
    "MemberDescription PartitionLag",
    "errors": "ClientClosed ClientError ConnectionFailed ConnectionLost DeliveryTimeout KafkaError NoOffset "
    "NotSupportedByBroker RequestTimeout",
    "metadata": "Broker PartitionInfo TopicInfo TopicPartition",
    "offsets": "EARLIEST LATEST MAX_TIMESTAMP FoundOffset Isolation",
    "partition_state": "ConsumerRecord Seek Start",
    "producer": "Producer",
    "reading": "RecordBatch",
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_MODULES)  # derived from the one list above


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
