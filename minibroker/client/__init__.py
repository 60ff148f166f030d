"""A Trio-native Kafka client: producer, consumer, admin. Works against any Kafka."""
