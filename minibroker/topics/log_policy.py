"""From a topic's settings to what the floors below ask for."""

from __future__ import annotations

from minibroker.config.settings import BrokerSettings
from minibroker.config.topic_settings import TopicSettings
from minibroker.records.batch import TimestampType
from minibroker.records.compression import Codec
from minibroker.records.validation import BatchLimits
from minibroker.storage.settings import LogSettings

_CODECS = {
    "uncompressed": Codec.NONE,
    "gzip": Codec.GZIP,
    "snappy": Codec.SNAPPY,
    "lz4": Codec.LZ4,
    "zstd": Codec.ZSTD,
}


def log_settings(topic: TopicSettings, broker: BrokerSettings) -> LogSettings:
    """What the log has to know."""
    return LogSettings(
        segment_bytes=topic.segment_bytes,
        segment_ms=topic.segment_ms,
        segment_jitter_ms=topic.segment_jitter_ms,
        index_interval_bytes=topic.index_interval_bytes,
        retention_ms=topic.retention_ms,
        retention_bytes=topic.retention_bytes,
        delete_retention_ms=topic.delete_retention_ms,
        min_compaction_lag_ms=topic.min_compaction_lag_ms,
        max_compaction_lag_ms=topic.max_compaction_lag_ms,
        min_cleanable_dirty_ratio=topic.min_cleanable_dirty_ratio,
        cleanup_policy=frozenset(topic.cleanup_policy),
        producer_id_expiration_ms=broker.producer_id_expiration_ms,
        max_decompressed_bytes=broker.minibroker_batch_decompressed_max_bytes,
    )


def batch_limits(topic: TopicSettings, broker: BrokerSettings) -> BatchLimits:
    """What an append has to check."""
    codec = _CODECS.get(topic.compression_type)
    levels = {
        Codec.GZIP: topic.compression_gzip_level,
        Codec.LZ4: topic.compression_lz4_level,
        Codec.ZSTD: topic.compression_zstd_level,
    }
    return BatchLimits(
        max_message_bytes=topic.max_message_bytes,
        max_decompressed_bytes=broker.minibroker_batch_decompressed_max_bytes,
        timestamp_type=(
            TimestampType.LOG_APPEND_TIME
            if topic.message_timestamp_type == "LogAppendTime"
            else TimestampType.CREATE_TIME
        ),
        timestamp_before_max_ms=topic.message_timestamp_before_max_ms,
        timestamp_after_max_ms=topic.message_timestamp_after_max_ms,
        compacted=topic.is_compacted,
        codec=codec,
        codec_level=None if codec is None else levels.get(codec),
    )
