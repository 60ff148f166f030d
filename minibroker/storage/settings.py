"""The settings of one log, under the names Kafka gives them for a topic."""

import attrs


@attrs.frozen(kw_only=True)
class LogSettings:
    """What a log needs to know of its topic's configuration. -1 means no limit, as in Kafka."""

    segment_bytes: int = 1_073_741_824
    """A segment that would grow beyond this is rolled first."""
    segment_ms: int = 604_800_000
    """A segment whose first record is older than this is rolled."""
    segment_jitter_ms: int = 0
    """The most by which a roll may come early, so that many logs do not roll at once."""
    index_interval_bytes: int = 4_096
    """Bytes between two entries of a segment's indexes."""
    retention_ms: int = 604_800_000
    """Segments whose newest record is older are deleted."""
    retention_bytes: int = -1
    """The oldest segments are deleted while those that stay hold at least this much."""
    delete_retention_ms: int = 86_400_000
    """How long compaction keeps tombstones."""
    min_compaction_lag_ms: int = 0
    """How long a record is certain to stay uncompacted."""
    max_compaction_lag_ms: int = 9_223_372_036_854_775_807
    """How long a record may stay uncompacted."""
    min_cleanable_dirty_ratio: float = 0.5
    """The share of uncompacted bytes from which a log is worth compacting."""
    cleanup_policy: frozenset[str] = frozenset({"delete"})
    """Any of "delete" and "compact"."""
    producer_id_expiration_ms: int = 86_400_000
    """How long an idle producer is remembered."""
    max_decompressed_bytes: int = 268_435_456
    """The most a batch may unpack to when an exact lookup by time looks inside it."""
