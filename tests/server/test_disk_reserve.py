"""A disk that fills up: producers are held back, everybody else goes on, and it ends by itself."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest
import trio

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.init_producer_id import InitProducerIdRequest
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from minibroker.server.broker import RunningBroker, serve
from minibroker.storage.filesystem import OsFileSystem
from minibroker.testing.embedded import settings_for_test
from tests.traps.talk import batch, create, produce, produce_request, values
from tests.traps.wire import Wire

RESERVE = 1 << 20


class FillingDisk(OsFileSystem):
    """A file system that has as much free space as it is told to."""

    free = RESERVE

    def free_bytes(self, path: str) -> int:
        return self.free


async def test_a_disk_that_fills_up_and_empties(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Producers get a retriable error, consumers and commits go on, and producing resumes by itself.

    When only a part of the reserve is left, which checkpoints and the next start need, commits get one too.
    """
    caplog.set_level(logging.INFO, "minibroker.server.maintenance")
    disk = FillingDisk()
    settings = settings_for_test(str(tmp_path), {"minibroker.disk.reserve.bytes": RESERVE})
    async with trio.open_nursery() as nursery:
        running: RunningBroker = await nursery.start(partial(serve, settings, fs=disk))
        endpoint = running.endpoints[0]
        await trio.to_thread.run_sync(_fill_and_empty, f"{endpoint.host}:{endpoint.port}", disk)
        running.stop()
    said = [record.levelno for record in caplog.records if record.name == "minibroker.server.maintenance"]
    assert said == [logging.WARNING, logging.WARNING, logging.INFO]


def _fill_and_empty(address: str, disk: FillingDisk) -> None:
    with Wire(address) as wire:
        create(wire, "t")
        assert produce(wire, "t", batch(b"before")).error_code == ErrorCode.NONE
        disk.free = RESERVE - 1
        answer = produce(wire, "t", batch(b"lots"))
        appended = 1
        while answer.error_code == ErrorCode.NONE:
            appended += 1
            answer = produce(wire, "t", batch(b"lots"))
        assert answer.error_code == ErrorCode.NOT_ENOUGH_REPLICAS
        assert ErrorCode(answer.error_code).retriable
        assert "disk" in (answer.error_message or "")
        assert len(values(wire, "t")) == appended
        assert commit(wire) == ErrorCode.NONE
        assert wire.ask(InitProducerIdRequest(transactional_id=None), 4).error_code == ErrorCode.NONE
        assert create(wire, "another") == ErrorCode.KAFKA_STORAGE_ERROR
        assert ErrorCode.KAFKA_STORAGE_ERROR.retriable
        wanted = MetadataRequest(topics=[MetadataRequestTopic(name="another")], allow_auto_topic_creation=True)
        assert [topic.error_code for topic in wire.ask(wanted, 9).topics] == [ErrorCode.KAFKA_STORAGE_ERROR]
        with Wire(address) as careless:
            careless.send(produce_request("t", batch(b"lots"), acks=0), 9)
            assert careless.is_closed()
        disk.free = RESERVE // 8
        while (code := commit(wire)) == ErrorCode.NONE:
            pass
        assert code == ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert ErrorCode(code).retriable
        assert len(values(wire, "t")) == appended
        disk.free = 2 * RESERVE
        while commit(wire) != ErrorCode.NONE:
            pass
        while produce(wire, "t", batch(b"after")).error_code != ErrorCode.NONE:
            pass
        assert values(wire, "t", appended) == [b"after"]


def commit(wire: Wire) -> int:
    """Commit an offset, as a consumer that is in no group; return the error code."""
    position = OffsetCommitRequestPartition(partition_index=0, committed_offset=1)
    request = OffsetCommitRequest(
        group_id="g",
        generation_id_or_member_epoch=-1,
        topics=[OffsetCommitRequestTopic(name="t", partitions=[position])],
    )
    (topic,) = wire.ask(request, 8).topics
    return int(topic.partitions[0].error_code)
