"""The Kafka wire protocol: codec, messages, error codes, framing. No I/O."""
