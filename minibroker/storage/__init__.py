"""Segments, indexes, recovery, compaction and retention on files. Blocking calls; no Trio."""
