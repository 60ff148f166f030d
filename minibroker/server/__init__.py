"""Listeners, connections, the nursery tree: the broker as a program."""
