"""Minibroker beside Apache Kafka on the same machine: ``python -m tests.benchmarks``.

Every case is one kind of work. Its sides (our broker, Kafka, what the machine can do at best) do the work in turns,
some times over, each load in a process of its own. docs/benchmarks.md says what comes out and how to read it.
"""
