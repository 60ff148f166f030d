"""What holds for a topic that does not set it: the broker's settings from which `topic_settings` derives a topic's."""

from __future__ import annotations

from functools import partial

import attrs

from minibroker.config import setting
from minibroker.config.setting import MAX_LONG

# Nearly all of these may change while the broker runs.
boolean, string = partial(setting.boolean, dynamic=True), partial(setting.string, dynamic=True)
integer, long = partial(setting.integer, dynamic=True), partial(setting.long, dynamic=True)
double, names = partial(setting.double, dynamic=True), partial(setting.names, dynamic=True)


@attrs.frozen(kw_only=True, init=False, repr=False, eq=False, slots=False)
class LogSettings:
    """The defaults of every topic setting."""

    log_cleanup_policy: tuple[str, ...] = names(
        ("delete",),
        "What is done with old records: delete drops whole segments by age and size, compact keeps the last record of "
        "each key; both may be given. An empty list keeps everything.",
        choices=("delete", "compact"),
    )
    log_retention_ms: int | None = long(
        None, "How long a segment is kept after its last record; -1 keeps it for ever.", at_least=-1
    )
    log_retention_minutes: int | None = integer(
        None, "The same in minutes, if log.retention.ms is not set.", at_least=-1, dynamic=False
    )
    log_retention_hours: int = integer(
        168,
        "The same in hours, if neither log.retention.ms nor log.retention.minutes is set.",
        at_least=-1,
        dynamic=False,
    )
    log_retention_bytes: int = long(
        -1, "The size of a partition beyond which its oldest segments are dropped; -1 sets no limit.", at_least=-1
    )
    log_segment_bytes: int = integer(
        1073741824,
        "How large a segment file grows before the next begins. Kafka asks for 1048576 at least.",
        at_least=1024,
    )
    log_roll_ms: int | None = long(
        None,
        "How long a segment is written to before the next begins, so that retention and compaction get hold of it.",
        at_least=1,
    )
    log_roll_hours: int = integer(168, "The same in hours, if log.roll.ms is not set.", at_least=1, dynamic=False)
    log_roll_jitter_ms: int | None = long(
        None,
        "At most how much earlier, at random, a segment ends, so that not all partitions begin a new one at once.",
        at_least=0,
    )
    log_roll_jitter_hours: int = integer(
        0, "The same in hours, if log.roll.jitter.ms is not set.", at_least=0, dynamic=False
    )
    log_index_size_max_bytes: int = integer(
        10485760,
        "How large the index of a segment may grow. Accepted for compatibility, no effect: an index is bounded by the "
        "size of its segment.",
        at_least=4,
    )
    log_index_interval_bytes: int = integer(
        4096, "About how many bytes of records lie between two entries of the index.", at_least=0
    )
    message_max_bytes: int = integer(
        1048588, "The largest batch of records that is taken, as it comes, compressed or not.", at_least=0
    )
    log_message_timestamp_type: str = string(
        "CreateTime",
        "Whether a record carries the time its producer gave it or the time it was appended.",
        choices=("CreateTime", "LogAppendTime"),
    )
    log_message_timestamp_before_max_ms: int = long(
        MAX_LONG, "How far a producer's timestamp may lie behind the broker's clock.", at_least=0
    )
    log_message_timestamp_after_max_ms: int = long(
        3600000, "How far a producer's timestamp may lie ahead of the broker's clock.", at_least=0
    )
    compression_type: str = string(
        "producer",
        "How records are stored: as the producer compressed them, or compressed again with one codec.",
        choices=("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"),
    )
    compression_gzip_level: int = integer(
        -1, "The level for compression.type=gzip; -1 is gzip's own default.", at_least=1, at_most=9, also=-1
    )
    compression_lz4_level: int = integer(9, "The level for compression.type=lz4.", at_least=1, at_most=17)
    compression_zstd_level: int = integer(3, "The level for compression.type=zstd.", at_least=-131072, at_most=22)
    log_flush_interval_messages: int = long(
        1,
        "After how many records a log is synced to disk. At 1 every append is synced, in groups, before it is "
        "acknowledged with acks=all or shown to a consumer; at any larger value appends are acknowledged and shown "
        "once the operating system has them, as is Kafka's default, and a crash of the machine can lose them.",
        at_least=1,
        kafka_default=MAX_LONG,
    )
    log_flush_interval_ms: int | None = long(
        None,
        "At most how long a record waits to be synced to disk, where records are not synced one by one.",
        at_least=0,
    )
    min_insync_replicas: int = integer(
        1,
        "How many replicas must have a record before it is acknowledged with acks=all. With more than the one there "
        "is, such requests are refused.",
        at_least=1,
    )
    log_cleaner_min_cleanable_ratio: float = double(
        0.5, "What share of a compacted log must be new before it is compacted again.", at_least=0, at_most=1
    )
    log_cleaner_min_compaction_lag_ms: int = long(
        0, "How long a record stays as it is before compaction may drop it.", at_least=0
    )
    log_cleaner_max_compaction_lag_ms: int = long(
        MAX_LONG, "After how long a record is compacted even if the log is hardly dirty.", at_least=1
    )
    log_cleaner_delete_retention_ms: int = long(
        86400000, "How long compaction keeps the tombstone of a key, for consumers that are behind.", at_least=0
    )
    log_segment_delete_delay_ms: int = long(
        60000,
        "How long the file of a dropped segment stays on the disk. Accepted for compatibility, no effect: it is removed "
        "at once, and whoever is reading it can finish.",
        at_least=0,
    )
    log_preallocate: bool = boolean(
        False,
        "Whether a segment takes its whole size on the disk when it begins. Accepted for compatibility, no effect.",
    )
    unclean_leader_election_enable: bool = boolean(
        False, "Whether a replica that lags may lead. Accepted for compatibility: a single broker has one replica."
    )
