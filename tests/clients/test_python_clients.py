"""confluent-kafka, aiokafka and kafka-python produce and consume on our broker, and read what each other wrote."""

from collections.abc import Iterator

import pytest

from minibroker.testing import BrokerThread
from tests.clients.foreign import CODECS, READERS, WRITERS, Message

BASE_MS = 1_700_000_000_000

MESSAGES = [
    Message(b"key", b"value", BASE_MS),
    Message(None, b"no key", BASE_MS + 1),
    Message(b"tombstone", None, BASE_MS + 2),
    Message(b"", b"", BASE_MS + 3),
    Message(b"binary", bytes(range(256)), BASE_MS + 4),
    Message(b"headers", b"v", BASE_MS + 5, (("a", b"1"), ("a", b"2"), ("empty", b""), ("unicode-é", b"\xff"))),
    Message(b"earlier", b"out of order", BASE_MS - 1000),
    *(Message(b"k%d" % index, b"v" * index, BASE_MS + 10 + index) for index in range(200)),
]


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerThread]:
    with BrokerThread() as running:
        yield running


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("writer", WRITERS)
def test_everybody_reads_what_anybody_wrote(broker: BrokerThread, writer: str, codec: str) -> None:
    """Keys, values, nulls, headers and timestamps come back from each reader as each writer sent them, in order."""
    topic = f"{writer}-{codec}".replace("_", "-")
    WRITERS[writer](broker.address, topic, MESSAGES, codec)
    for name, read in READERS.items():
        assert read(broker.address, topic, len(MESSAGES)) == MESSAGES, name


def test_records_survive_a_restart() -> None:
    """What was acknowledged before a restart is read after it, and what follows has the next offsets."""
    with BrokerThread() as broker:
        WRITERS["confluent"](broker.address, "t", MESSAGES, "lz4")
        broker.stop()
        broker.start()
        WRITERS["aiokafka"](broker.address, "t", MESSAGES, "none")
        assert READERS["kafka_python"](broker.address, "t", 2 * len(MESSAGES)) == MESSAGES * 2
