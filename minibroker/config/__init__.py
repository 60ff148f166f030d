"""Every setting of the broker and of a topic, under Kafka's own names, and how files and flags become them."""
