"""Traps of ApiVersions, Metadata and DescribeConfigs, by the numbers and observations of the protocol page."""

from __future__ import annotations

import socket
from uuid import UUID

import pytest

from minibroker.handlers.registry import APIS
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from minibroker.protocol.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from minibroker.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from minibroker.protocol.messages.delete_topics import DeleteTopicsRequest
from minibroker.protocol.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResource
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from minibroker.testing import BrokerThread
from tests.traps.talk import create, describe
from tests.traps.wire import Wire, request_frame

ALL_OF_METADATA = range(14)


@pytest.mark.parametrize("version", [5, 32767, -1])
def test_an_unknown_version_of_api_versions_is_answered_in_v0(wire: Wire, version: int) -> None:
    """Trap 1: with error 35 and the range of this one API; the connection stays open."""
    frame = b"\0\x12" + version.to_bytes(2, "big", signed=True) + b"\0\0\0\7" + b"\0\3raw" + b"\0" + b"whatever"
    wire.send_bytes(len(frame).to_bytes(4, "big") + frame)
    correlation_id, response = wire.receive(ApiVersionsResponse, 0)
    assert (correlation_id, response.error_code) == (7, ErrorCode.UNSUPPORTED_VERSION)
    (key,) = response.api_keys
    assert (key.api_key, key.min_version, key.max_version) == (ApiKey.API_VERSIONS, 0, 4)
    assert wire.ask(ApiVersionsRequest(client_software_name="raw", client_software_version="1"), 3).error_code == 0


@pytest.mark.parametrize("version", range(5))
def test_api_versions_tells_what_is_served(wire: Wire, version: int) -> None:
    """Traps 1 and 21: with a response header of version 0 always; only what works is listed, each API once."""
    response = wire.ask(ApiVersionsRequest(client_software_name="raw", client_software_version="1"), version)
    told = {key.api_key: (key.min_version, key.max_version) for key in response.api_keys}
    assert told == {api.key: (api.advertised_min_version, api.max_version) for api in APIS}
    assert len(response.api_keys) == len(APIS)
    assert not {4, 5, 6, 7, 71, 72} & set(told)


@pytest.mark.parametrize("name", ["", "-x", "x y", "größe"])
def test_client_software_names_are_checked(wire: Wire, name: str) -> None:
    """KIP-511: INVALID_REQUEST, and the connection stays."""
    request = ApiVersionsRequest(client_software_name=name, client_software_version="1")
    assert wire.ask(request, 3).error_code == ErrorCode.INVALID_REQUEST
    assert wire.ask(ApiVersionsRequest(), 0).error_code == ErrorCode.NONE


def test_unknown_tagged_fields_are_skipped(wire: Wire) -> None:
    """Trap 16: in the header and in the message."""
    frame = bytearray(request_frame(ApiVersionsRequest(client_software_name="raw", client_software_version="1"), 3))
    tags = b"\2\x07\3abc\x63\0"  # two of them: 7 with three bytes, 99 with none
    assert frame[-1:] == b"\0"
    assert frame[17:18] == b"\0"  # the end of the header: length, key, version, correlation id, "raw"
    changed = frame[4:17] + tags + frame[18:-1] + tags
    wire.send_bytes(len(changed).to_bytes(4, "big") + changed)
    _, response = wire.receive(ApiVersionsResponse, 3)
    assert response.error_code == ErrorCode.NONE


@pytest.mark.parametrize("version", ALL_OF_METADATA)
def test_which_list_means_all_topics(wire: Wire, topic: str, version: int) -> None:
    """Trap 5: in version 0 an empty one; from version 1 on null, and an empty one means none."""
    create(wire, topic)
    everything = wire.ask(MetadataRequest(topics=[] if version == 0 else None), version).topics
    assert topic in [found.name for found in everything]
    if version:
        assert wire.ask(MetadataRequest(topics=[]), version).topics == []


@pytest.mark.parametrize("version", ALL_OF_METADATA)
def test_who_may_create_topics_by_asking(wire: Wire, topic: str, version: int) -> None:
    """Traps 5 and 22: before version 4 everybody, at once and with leaders; later whoever sets the flag."""
    asked = MetadataRequest(topics=[MetadataRequestTopic(name=topic)], allow_auto_topic_creation=True)
    if version >= 4:
        asked.allow_auto_topic_creation = False
        (found,) = wire.ask(asked, version).topics
        assert (found.error_code, found.partitions) == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, [])
        asked.allow_auto_topic_creation = True
    (found,) = wire.ask(asked, version).topics
    assert found.error_code == ErrorCode.NONE
    assert [part.leader_id for part in found.partitions] == [0]


def test_auto_create_can_be_forbidden(topic: str) -> None:
    """By auto.create.topics.enable, whatever the request says."""
    with BrokerThread({"auto.create.topics.enable": "false"}) as broker, Wire(broker.address) as wire:
        for version in (1, 12):
            found = describe(wire, topic, version, auto_create=True)
            assert found.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ü", "x" * 250])
def test_illegal_names_are_refused(wire: Wire, name: str) -> None:
    """INVALID_TOPIC_EXCEPTION from Metadata as from CreateTopics."""
    assert describe(wire, name, auto_create=True).error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert create(wire, name) == ErrorCode.INVALID_TOPIC_EXCEPTION


def test_names_that_collide_are_refused(wire: Wire, topic: str) -> None:
    """'.' and '_' count as the same."""
    assert create(wire, f"{topic}.a_b") == ErrorCode.NONE
    assert create(wire, f"{topic}_a.b") == ErrorCode.INVALID_TOPIC_EXCEPTION


def test_topics_are_found_by_id(wire: Wire, topic: str) -> None:
    """Trap 6: from version 12 on; an unknown id is UNKNOWN_TOPIC_ID."""
    create(wire, topic)
    topic_id = describe(wire, topic).topic_id
    for wanted, code, name in ((topic_id, ErrorCode.NONE, topic), (UUID(int=9), ErrorCode.UNKNOWN_TOPIC_ID, None)):
        (found,) = wire.ask(MetadataRequest(topics=[MetadataRequestTopic(name=None, topic_id=wanted)]), 12).topics
        assert (found.error_code, found.name, found.topic_id) == (code, name, wanted)


def test_the_broker_is_number_0_where_it_was_reached(broker: BrokerThread, wire: Wire) -> None:
    """Traps 12 and 17: the default node.id, and the address that clients came by."""
    response = wire.ask(MetadataRequest(topics=[]), 12)
    assert [(node.node_id, node.host, node.port) for node in response.brokers] == [(0, broker.host, broker.port)]
    assert response.controller_id == 0
    assert response.cluster_id


def test_localhost_is_reached_by_every_address_it_has() -> None:
    """Trap 12: for some clients ::1 is the first, for others 127.0.0.1."""
    with BrokerThread({"listeners": "PLAINTEXT://localhost:0"}) as broker:
        found = socket.getaddrinfo("localhost", broker.port, type=socket.SOCK_STREAM)
        for family, kind, _, _, address in set(found):
            with socket.socket(family, kind) as sock:
                sock.settimeout(30)
                sock.connect(address)
                sock.sendall(request_frame(MetadataRequest(topics=[]), 1))
                assert sock.recv(4)


def test_an_internal_topic_says_so(wire: Wire) -> None:
    """And nobody can make or delete one."""
    for name in ("__consumer_offsets", "__cluster_metadata"):
        response = wire.ask(DeleteTopicsRequest(topic_names=[name], timeout_ms=1000), 5)
        assert response.responses[0].error_code != ErrorCode.NONE
    _, response = wire.send(MetadataRequest(topics=None), 12), wire.receive(MetadataResponse, 12)[1]
    assert all(found.is_internal == found.name.startswith("__") for found in response.topics if found.name)


def test_describe_configs_lists_defaults(wire: Wire, topic: str) -> None:
    """Trap 10: with their source: 1 is the topic's own, 5 the default."""
    create(wire, topic, retention_ms="1000")
    resource = DescribeConfigsResource(resource_type=2, resource_name=topic, configuration_keys=None)
    (result,) = wire.ask(DescribeConfigsRequest(resources=[resource]), 4).results
    sources = {config.name: config.config_source for config in result.configs}
    assert sources["retention.ms"] == 1
    assert sources["segment.bytes"] == 5
    assert len(sources) > 20


def test_create_partitions_answers_once_per_topic(wire: Wire, topic: str) -> None:
    """Trap 10: though the request names it twice."""
    create(wire, topic)
    twice = [CreatePartitionsTopic(name=topic, count=count, assignments=None) for count in (2, 3)]
    results = wire.ask(CreatePartitionsRequest(topics=twice, timeout_ms=1000), 3).results
    assert [result.name for result in results] == [topic]


@pytest.mark.parametrize(
    ("factor", "code"), [(1, ErrorCode.NONE), (-1, ErrorCode.NONE), (2, ErrorCode.INVALID_REPLICATION_FACTOR)]
)
def test_replication_factors(wire: Wire, topic: str, factor: int, code: ErrorCode) -> None:
    """Trap 18: more than there are brokers is an error, -1 means the default."""
    wanted = CreatableTopic(name=topic, num_partitions=-1, replication_factor=factor)
    (result,) = wire.ask(CreateTopicsRequest(topics=[wanted], timeout_ms=1000), 7).topics
    assert result.error_code == code
