"""What records may look like, for the tests of this floor."""

from hypothesis import strategies as st

RecordParts = tuple[int, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]

timestamps = st.one_of(st.integers(1_700_000_000_000, 1_700_000_100_000), st.integers(-1, 2**62))
blobs = st.one_of(st.binary(max_size=20), st.integers(60, 20_000).map(lambda size: b"x" * size))
nullable_blobs = st.none() | blobs
headers = st.lists(st.tuples(st.text(max_size=10), st.none() | st.binary(max_size=80)), max_size=3).map(tuple)
records = st.tuples(timestamps, nullable_blobs, nullable_blobs, st.just(()) | headers)
record_lists = st.lists(records, min_size=1, max_size=20)


def many_records(count: int) -> list[RecordParts]:
    """Records of every usual kind, enough of them for offsets of two and three bytes."""
    return [
        (
            1_700_000_000_000 + index * 7 % 1000,
            None if index % 5 == 0 else f"key-{index % 100}".encode(),
            None if index % 11 == 0 else b"value " * (index % 40),
            (("trace", str(index).encode()), ("empty", b""), ("null", None)) if index % 3 == 0 else (),
        )
        for index in range(count)
    ]
