"""What the admin client tells of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import attrs

from minibroker.client.metadata import Broker, TopicPartition


@attrs.frozen(kw_only=True)
class ClusterDescription:
    """The cluster as a whole."""

    cluster_id: str | None
    controller_id: int
    brokers: tuple[Broker, ...]


@attrs.frozen(kw_only=True)
class LogDirectory:
    """A data directory of one broker."""

    broker_id: int
    path: str
    total_bytes: int = -1
    """Of its volume; -1 if unknown."""
    usable_bytes: int = -1
    sizes: Mapping[TopicPartition, int] = attrs.Factory(dict)
    """Bytes per partition."""
    error_code: int = 0
    """Not zero when the directory is offline."""


class ConfigSource(IntEnum):
    """Where a value comes from."""

    UNKNOWN = 0
    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5
    DYNAMIC_BROKER_LOGGER = 6
    CLIENT_METRICS = 7
    GROUP = 8

    @classmethod
    def _missing_(cls, value: object) -> ConfigSource:
        return cls.UNKNOWN  # of a broker that is newer than this client


@attrs.frozen(kw_only=True)
class ConfigEntry:
    """One setting."""

    name: str
    value: str | None
    """None for a sensitive one."""
    source: ConfigSource = ConfigSource.UNKNOWN
    read_only: bool = False
    sensitive: bool = False
    documentation: str | None = None

    @property
    def is_default(self) -> bool:
        """Whether nobody has set it."""
        return self.source is ConfigSource.DEFAULT


@attrs.frozen(kw_only=True)
class GroupListing:
    """A group in brief."""

    group: str
    protocol_type: str
    state: str = ""
    """Empty before ListGroups 4."""
    type: str = ""
    """`classic` or `consumer`; empty before ListGroups 5."""


@attrs.frozen(kw_only=True)
class MemberDescription:
    """A member of a group."""

    member_id: str
    client_id: str
    client_host: str
    instance_id: str | None = None
    assignment: frozenset[TopicPartition] = frozenset()
    """Of consumers; other protocol types keep it to themselves."""


@attrs.frozen(kw_only=True)
class GroupDescription:
    """A group with its members."""

    group: str
    state: str
    protocol_type: str
    protocol: str
    """The assignor, while there are members."""
    coordinator_id: int
    members: tuple[MemberDescription, ...] = ()


@attrs.frozen(kw_only=True)
class PartitionLag:
    """How far a group is behind in one partition."""

    committed: int
    """-1 if it has committed nothing."""
    end: int
    lag: int | None
    """None if it has committed nothing."""
    metadata: str = ""
    member: MemberDescription | None = None
    """Who reads it at present."""
