"""Records as JSON lines: what goes out comes in again, whatever the bytes."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.cli.jsonlines import InputRecord, record_from_json, record_to_json
from minibroker.cli.problems import CommandError
from tests.cli.test_formats import RECORD


def test_a_record_is_one_line_with_its_fields_in_order() -> None:
    """Text is text, other bytes are base64, null is null."""
    line = record_to_json(RECORD._replace(value=None))
    assert line == (
        b'{"topic":"orders","partition":3,"offset":42,"timestamp":1700000000000,'
        b'"key":{"base64":"a/8="},"value":null,"headers":[["a","1"],["b",null]]}\n'
    )


some_bytes = st.none() | st.binary(max_size=20)


@given(some_bytes, some_bytes, st.lists(st.tuples(st.text(max_size=5), some_bytes), max_size=3))
def test_what_goes_out_comes_in(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """The producer reads from the consumer's line exactly the record that it was."""
    record = record_from_json(record_to_json(RECORD._replace(key=key, value=value, headers=tuple(headers))))
    assert record == InputRecord(key=key, value=value, headers=tuple(headers), timestamp_ms=1700000000000, partition=3)


@pytest.mark.parametrize(
    ("fields", "record"),
    [
        ({"value": "v"}, InputRecord(value=b"v")),
        ({"value": {"id": 1, "name": "é"}}, InputRecord(value='{"id":1,"name":"é"}'.encode())),
        ({"value": 5, "key": True}, InputRecord(value=b"5", key=b"true")),
        ({"key": "k"}, InputRecord(value=None, key=b"k")),
        ({"value": "v", "headers": {"a": "1"}}, InputRecord(value=b"v", headers=(("a", b"1"),))),
    ],
)
def test_what_people_write_by_hand_is_understood(fields: object, record: InputRecord) -> None:
    """Missing fields are null, JSON values are sent as JSON text, headers may be an object."""
    assert record_from_json(orjson.dumps(fields)) == record


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"hello", "expected a JSON object, found"),
        (b"[1]", "expected a JSON object, found"),
        (b'{"vlaue": 1}', 'found "vlaue"'),
        (b'{"value": {"base64": "?"}}', "value expects base64"),
        (b'{"value": {"base64": 7}}', "value expects base64"),
        (b'{"partition": "1"}', "partition expects an integer"),
        (b'{"timestamp": 1.5}', "timestamp expects an integer"),
        (b'{"headers": [["a"]]}', "headers expects pairs"),
    ],
)
def test_what_is_no_record_is_refused(line: bytes, problem: str) -> None:
    """The error says what was expected and what was found."""
    with pytest.raises(CommandError, match=problem):
        record_from_json(line)
