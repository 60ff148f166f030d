"""minibroker: the Kafka-compatible message broker that fits in a Python process."""

__version__ = "0.1.0"
