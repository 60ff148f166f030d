"""One small file per Kafka API."""
