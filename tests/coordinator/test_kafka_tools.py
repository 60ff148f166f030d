"""Kafka's own tools read what we write of groups, and manage our groups."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
import trio

from minibroker.groups.records import CommittedOffset, GroupMetadata, GroupRecord, MemberMetadata, OffsetRecord
from minibroker.protocol.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    TopicPartition,
    encode_versioned,
)
from minibroker.testing import BrokerThread, open_broker
from tests.clients.kafka_tools import KafkaTools, find_tools

pytestmark = pytest.mark.foreign

TOPIC = "orders"
GROUP = "billing"
NOW_MS = 1_700_000_000_000

MEMBER = MemberMetadata(
    member_id="c-1",
    group_instance_id="one",
    client_id="c",
    client_host="/10.0.0.1",
    rebalance_timeout_ms=60_000,
    session_timeout_ms=10_000,
    subscription=encode_versioned(ConsumerProtocolSubscription(topics=[TOPIC])),
    assignment=encode_versioned(
        ConsumerProtocolAssignment(assigned_partitions=[TopicPartition(topic=TOPIC, partitions=[0])])
    ),
)
METADATA = GroupMetadata(
    protocol_type="consumer", generation=3, protocol="range", leader="c-1", state_timestamp_ms=NOW_MS, members=(MEMBER,)
)
COMMITTED = CommittedOffset(offset=5, leader_epoch=2, metadata="note", commit_timestamp_ms=NOW_MS, topic_id=UUID(int=7))


@pytest.fixture(scope="module")
def tools() -> KafkaTools:
    return find_tools()


def test_segments_are_decoded(tools: KafkaTools, tmp_path: Path) -> None:
    """DumpLogSegments --offsets-decoder understands every kind of record that we write."""
    records = [
        GroupRecord(GROUP, METADATA),
        GroupRecord("joining", GroupMetadata(**{**_fields(METADATA), "leader": None})),
        GroupRecord("new", GroupMetadata()),
        OffsetRecord(GROUP, TOPIC, 0, COMMITTED),
        OffsetRecord(
            GROUP, TOPIC, 1, CommittedOffset(offset=6, commit_timestamp_ms=NOW_MS, expire_timestamp_ms=NOW_MS)
        ),
        OffsetRecord(GROUP, TOPIC, 2, None),
        OffsetRecord(GROUP, TOPIC, 3, attrs.evolve(COMMITTED, topic_id=None)),
        GroupRecord("gone", None),
    ]

    async def write() -> None:
        settings = {"offsets.topic.num.partitions": 1}
        async with open_broker(settings, data_dir=str(tmp_path)) as broker:
            services = broker.running.services
            services.catalog.create_topic(TOPIC, 3)
            services.coordinator.topic.append(records)

    trio.run(write)
    segment = tmp_path / "__consumer_offsets-0" / f"{0:020}.log"
    dumped = tools.run("DumpLogSegments", "--offsets-decoder", "--files", str(segment))
    lines = [line for line in dumped.splitlines() if "payload" in line or "key:" in line]
    assert len(lines) == len(records)
    for said in (
        '"generation":3',
        '"leader":"c-1"',
        '"leader":null',
        '"offset":5',
        '"metadata":"note"',
        '"topicId":"AAAAAAAAAAAAAAAAAAAABw"',
        '"expireTimestamp"',
    ):
        assert said in dumped
    assert "Could not" not in dumped


def _fields(metadata: GroupMetadata) -> dict[str, object]:
    return {name: getattr(metadata, name) for name in ("protocol_type", "generation", "protocol", "leader", "members")}


@pytest.fixture(scope="module")
def broker(tools: KafkaTools) -> Iterator[BrokerThread]:
    """Ten records in one of two partitions, three of them read and committed by the group."""
    from confluent_kafka import Consumer, Producer

    with BrokerThread({"num.partitions": 2}) as running:
        producer = Producer({"bootstrap.servers": running.address})
        for value in range(10):
            producer.produce(TOPIC, str(value), partition=0)
        assert producer.flush(30) == 0
        consumer = Consumer(
            {
                "bootstrap.servers": running.address,
                "group.id": GROUP,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([TOPIC])
        messages = [consumer.poll(30) for _ in range(3)]
        consumer.commit(messages[-1], asynchronous=False)
        consumer.close()
        yield running


def objects_in(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects that `text` begins with; the formatters put nothing between them."""
    while text.startswith("{"):
        found, end = json.JSONDecoder().raw_decode(text)
        yield found
        text = text[end:].lstrip()


def test_the_offsets_topic_is_readable(tools: KafkaTools, broker: BrokerThread) -> None:
    """The console consumer with Kafka's formatters shows commits and group metadata."""
    read = ("consumer.ConsoleConsumer", "--bootstrap-server", broker.address, "--topic", "__consumer_offsets")
    shown = {}
    for formatter in ("OffsetsMessageFormatter", "GroupMetadataMessageFormatter"):
        printed = tools.run(
            *read, "--from-beginning", "--timeout-ms", "5000",
            "--formatter", f"org.apache.kafka.tools.consumer.{formatter}",
        )  # fmt: skip
        shown[formatter] = [record for record in objects_in(printed) if record["key"]["data"]["group"] == GROUP]
    commits = [record["value"]["data"] for record in shown["OffsetsMessageFormatter"] if record["value"]]
    assert [commit["offset"] for commit in commits] == [3]
    groups = [record["value"]["data"] for record in shown["GroupMetadataMessageFormatter"] if record["value"]]
    assert [group["generation"] for group in groups] == [0, 1, 1, 2]
    assert [len(group["members"]) for group in groups] == [0, 1, 1, 0]


def test_groups_are_managed(tools: KafkaTools, broker: BrokerThread) -> None:
    """kafka-consumer-groups lists, describes, resets and deletes."""
    command = ("consumer.group.ConsumerGroupCommand", "--bootstrap-server", broker.address)
    assert GROUP in tools.run(*command, "--list")
    assert "Empty" in tools.run(*command, "--list", "--state")
    described = tools.run(*command, "--describe", "--group", GROUP)
    row = next(line.split() for line in described.splitlines() if f"{TOPIC} " in line)
    assert row[:2] == [GROUP, TOPIC]
    assert [part for part in row if part.isdigit()] == ["0", "3", "10", "7"]
    assert "Empty" in tools.run(*command, "--describe", "--group", GROUP, "--state")

    reset = ("--reset-offsets", "--group", GROUP, "--topic", f"{TOPIC}:0")
    tools.run(*command, *reset, "--to-offset", "8", "--execute")
    assert " 8 " in " ".join(tools.run(*command, "--describe", "--group", GROUP).split())
    tools.run(*command, "--delete-offsets", "--group", GROUP, "--topic", f"{TOPIC}:0")
    assert f"{TOPIC} 0 8" not in " ".join(tools.run(*command, "--describe", "--group", GROUP).split())
    tools.run(*command, "--delete", "--group", GROUP)
    assert GROUP not in tools.run(*command, "--list").split()
