"""One module per Kafka API: its request and its response for all versions. Imported on first use."""
