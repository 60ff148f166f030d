"""Every API in every version that ApiVersions tells of is answered, in that version's layout."""

from __future__ import annotations

from uuid import UUID

import pytest

from minibroker.protocol.api import ApiKey, response_class
from minibroker.protocol.codec import decode_message
from minibroker.protocol.framing import decode_response_header
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from tests.protocol.oracle import decode_with_kio, first_kio_version, kio_class
from tests.traps.samples import CASES, Samples
from tests.traps.wire import Wire


@pytest.fixture
def samples(wire: Wire) -> Samples:
    """Samples about a topic that is there."""
    (topic,) = wire.ask(MetadataRequest(topics=[MetadataRequestTopic(name="known")]), 12).topics
    return Samples("known", topic.topic_id)


@pytest.mark.parametrize(("key", "version"), CASES, ids=[f"{key.name.lower()}-v{version}" for key, version in CASES])
def test_every_version_is_answered(wire: Wire, samples: Samples, key: ApiKey, version: int) -> None:
    """A plausible request, an empty one and one about nothing get an answer that we and kio can read; nobody hangs up."""
    cls = response_class(key)
    strangers = Samples("..", UUID(int=7))  # never a topic: not created either
    for request in (*samples.of(key, version), *strangers.of(key, version)):
        correlation_id = wire.send(request, version)
        if key is ApiKey.PRODUCE and request.acks == 0:
            continue
        frame = wire.receive_frame()
        answered, position = decode_response_header(frame, key, version)
        assert answered == correlation_id
        decode_message(cls, version, frame[position:])
        if version >= first_kio_version(key):
            decode_with_kio(kio_class(cls, version), bytes(frame[position:]))
    assert wire.ask(MetadataRequest(topics=[]), 1).brokers
