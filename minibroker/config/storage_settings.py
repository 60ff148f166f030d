"""Where the data is, which topics may come and go, and how their logs are looked after: the storage part."""

from __future__ import annotations

import attrs

from minibroker.config.setting import boolean, integer, long, string


@attrs.frozen(kw_only=True, init=False, repr=False, eq=False, slots=False)
class StorageSettings:
    """The data directory, the rules for topics, and the pace and limits of housekeeping."""

    log_dirs: str = string(
        "data", "The data directory. One only, in spite of the name.", kafka_default="/tmp/kafka-logs"
    )
    num_partitions: int = integer(1, "How many partitions a topic gets if its creator does not say.", at_least=1)
    default_replication_factor: int = integer(
        1,
        "How many replicas a topic gets if its creator does not say. A single broker can keep one.",
        at_least=1,
        at_most=1,
    )
    auto_create_topics_enable: bool = boolean(
        True, "Whether a topic comes into being when a client first asks for it or produces to it."
    )
    delete_topic_enable: bool = boolean(True, "Whether topics may be deleted.")
    log_retention_check_interval_ms: int = long(
        300000, "How often logs are looked through for segments that are no longer to be kept.", at_least=1
    )
    log_flush_offset_checkpoint_interval_ms: int = integer(
        1000,
        "How often the position up to which each log is known to be durable is written down, if anything changed. A "
        "restart after a crash checks what lies beyond it, so it is shorter than Kafka's.",
        at_least=1,
        kafka_default=60000,
    )
    log_cleaner_enable: bool = boolean(
        True, "Whether compacted topics are compacted. Without it __consumer_offsets grows for ever."
    )
    log_cleaner_backoff_ms: int = long(
        15000, "How long compaction rests when there was nothing to compact.", at_least=0
    )
    log_cleaner_dedupe_buffer_size: int = long(
        134217728, "How many bytes of memory one pass of compaction may use to remember keys.", at_least=1048576
    )
    minibroker_batch_decompressed_max_bytes: int = long(
        134217728,
        "How large a batch may become when it is decompressed. Protects from small batches that unpack to gigabytes.",
        at_least=1024,
    )
    minibroker_scrub_bytes_per_second: int = long(
        8388608,
        "How fast what nobody has read since the start is looked through for damage, in the background, and once a week "
        "everything. 0 leaves it to the readers.",
        at_least=0,
    )
    minibroker_disk_reserve_bytes: int = long(
        67108864,
        "When less than this is free on the disk, producers are told to try again later, while consumers and "
        "commits of offsets go on; commits do until an eighth of it is left. 0 keeps no reserve.",
        at_least=0,
    )
    minibroker_partitions_max: int = integer(
        100000, "How many partitions there may be in all, with those whose files are still to be removed.", at_least=1
    )
