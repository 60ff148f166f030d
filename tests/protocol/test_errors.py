"""Error codes against kio, and their exceptions."""

from __future__ import annotations

import pickle

import kio.schema.errors
import pytest

from minibroker.protocol import errors
from minibroker.protocol.errors import ErrorCode, KafkaError, OffsetOutOfRange, UnknownServerError, error_for


def test_codes_equal_those_of_kio() -> None:
    """Names, numbers and retriability are Kafka's."""
    theirs = {(code.name.upper(), int(code), code.retriable) for code in kio.schema.errors.ErrorCode}
    assert {(code.name, int(code), code.retriable) for code in ErrorCode} == theirs


@pytest.mark.parametrize("code", [code for code in ErrorCode if code is not ErrorCode.NONE], ids=lambda code: code.name)
def test_every_code_has_its_exception(code: ErrorCode) -> None:
    """The exception of a code is named after it, found by it, and survives pickling."""
    error = error_for(code, "because")
    assert error.code is code
    assert error.message == "because"
    assert type(error) is getattr(errors, code.name.title().replace("_", ""))
    assert type(pickle.loads(pickle.dumps(error))) is type(error)


def test_error_speaks_for_itself() -> None:
    """The text names the code, and without a message says what the code means."""
    assert str(OffsetOutOfRange("offset 7 of 5")) == "OFFSET_OUT_OF_RANGE: offset 7 of 5"
    assert str(OffsetOutOfRange()) == "OFFSET_OUT_OF_RANGE: the offset lies outside the log"
    assert isinstance(OffsetOutOfRange(), KafkaError)


def test_code_of_a_later_kafka() -> None:
    """A client that meets an unknown code says so."""
    error = error_for(999)
    assert isinstance(error, UnknownServerError)
    assert "999" in str(error)


def test_a_message_is_cut_where_it_is_too_long() -> None:
    """It may quote a peer, and quoting makes text longer: an answer must be able to hold it."""
    error = KafkaError(f"there is no topic {chr(0) * 32_767!r}")
    assert len(error.message) == len(error.args[0]) == errors.MAX_MESSAGE_CHARACTERS
