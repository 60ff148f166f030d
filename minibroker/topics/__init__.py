"""Partitions and the catalog of topics: a Trio shell over storage."""
