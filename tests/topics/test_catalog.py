"""The catalog keeps nothing that a client may make as large as it likes, and forgets what is gone."""

from __future__ import annotations

import contextlib
import errno
from functools import partial
from typing import NoReturn

import pytest

from minibroker.protocol.errors import (
    InvalidConfig,
    InvalidPartitions,
    InvalidRequest,
    InvalidTopicException,
    KafkaStorageError,
    TopicAlreadyExists,
    UnknownTopicOrPartition,
)
from minibroker.server.maintenance import Maintenance
from minibroker.topics.catalog import Topic
from tests.coordinator.rig import EPOCH_MS, open_rig
from tests.simulation.disk import Inode
from tests.simulation.inspection import recover

LONG = "delete," * 150


async def test_settings_are_not_longer_than_any_needs_to_be() -> None:
    """Neither a new topic's, nor an altered one's, nor the broker's: they would be told to everybody for ever."""
    async with open_rig() as rig:
        catalog = rig.data.catalog
        with pytest.raises(InvalidConfig, match="at most 1000 characters, found 1050"):
            catalog.create_topic("n", 1, {"cleanup.policy": LONG})
        with pytest.raises(InvalidConfig, match="1050"):
            catalog.alter_configs("t", {"cleanup.policy": LONG})
        with pytest.raises(InvalidRequest, match="1050"):
            catalog.alter_broker_configs({"log.cleanup.policy": LONG}, {})
        catalog.alter_configs("t", {"cleanup.policy": "delete,compact"})


async def test_partitions_are_limited_in_all() -> None:
    """`minibroker.partitions.max` counts those of all topics, the broker's own too; deleting some makes room."""
    async with open_rig(minibroker_partitions_max=10) as rig:
        catalog = rig.data.catalog
        assert sum(1 for _ in catalog.partitions()) == 5
        with pytest.raises(InvalidPartitions, match="allows 10"):
            catalog.create_topic("n", 6)
        with pytest.raises(InvalidPartitions, match="allows 10"):
            catalog.create_partitions("t", 10)
        catalog.create_topic("n", 5)
        catalog.partition("n", 0).append_records([(b"key", b"value")], EPOCH_MS)
        catalog.delete_topic("n")
        for left in (5, 1):
            with pytest.raises(InvalidPartitions, match=f"allows 10: {5 + left} there"):
                catalog.create_partitions("t", 9)
            await rig.services.flusher.wait_durable(catalog.flush_ticket())
        await Maintenance(rig.data).remove_deleted()
        catalog.create_partitions("t", 9)


async def test_no_topic_is_looked_at_for_the_name_of_another() -> None:
    """A request may ask for twenty thousand names, and there may be thousands of topics."""

    class Counted(dict[str, Topic]):
        def __iter__(self) -> NoReturn:
            raise AssertionError("all topics were visited")

        items = values = keys = __iter__  # type: ignore[assignment]

    async with open_rig() as rig:
        catalog = rig.data.catalog
        catalog.create_topic("a.b", 1)
        catalog.topics = Counted(catalog.topics)
        for _ in range(2):
            with pytest.raises(InvalidTopicException, match=r"collides with 'a\.b'"):
                catalog.check_new_topic("a_b", 1, {})
        catalog.create_topic("c.d", 1)
        catalog.delete_topic("a.b")
        catalog.check_new_topic("a_b", 1, {})


async def test_a_topic_is_made_at_the_end_or_not_at_all() -> None:
    """Others have their turn after a few partitions each; meanwhile the count of partitions is as if all were there."""
    async with open_rig(minibroker_partitions_max=3000) as rig:
        catalog = rig.data.catalog
        end = catalog.metadata.log_end_offset
        given_up, beaten, made = (catalog.making_topic("n", 900) for _ in range(3))
        for making in (given_up, beaten, made):
            assert 0 < next(making) <= 5
            assert "n" not in catalog.topics
        with pytest.raises(InvalidPartitions, match="2705 there"):
            catalog.create_topic("other", 900)
        given_up.close()
        assert catalog.metadata.log_end_offset == end
        catalog.alter_broker_configs({}, {"log.retention.ms": "4711"})
        assert sum(1 for _ in made) == 899
        assert catalog.partition("n", 899).log.settings.retention_ms == 4711
        with pytest.raises(TopicAlreadyExists):
            sum(1 for _ in beaten)
        more = catalog.making_more_partitions("n", 1000)
        next(more)
        catalog.create_partitions("n", 901)
        with pytest.raises(InvalidPartitions, match="meanwhile"):
            sum(1 for _ in more)
        assert len(catalog.topics["n"].partitions) == catalog.state.topics["n"].partitions == 901
        catalog.create_topic("other", 2000)


async def test_what_cannot_be_made_is_not_there() -> None:
    """Neither when the log of topics cannot be written, nor when something that is in the way cannot be moved."""
    async with open_rig() as rig:
        catalog, disk = rig.data.catalog, rig.disk
        disk.mkdir("/data/n-3")
        for step in range(2):
            disk.failures = {disk.steps + step: errno.ENOSPC}
            with pytest.raises(KafkaStorageError):
                catalog.create_topic("n", 4)
            assert disk.exists("/data/n-3") == (step == 0)
        disk.failures = {disk.steps: errno.ENOSPC}
        with pytest.raises(KafkaStorageError):
            catalog.create_partitions("t", 6)
        assert "n" not in catalog.topics
        assert len(catalog.topics["t"].partitions) == 4
        assert not [name for name in disk.list_directories("/data") if name.startswith("n-") and "stray" not in name]
        catalog.create_topic("n", 4)


async def test_nothing_is_made_while_the_disk_is_full() -> None:
    """It would take from the reserve what producers may not; but consumers go on, with the topic that they need."""
    async with open_rig() as rig:
        catalog = rig.data.catalog
        catalog.short_of_space = True
        for make in (catalog.check_space, partial(catalog.create_partitions, "t", 9)):
            with pytest.raises(KafkaStorageError, match="disk is full"):
                make()
        catalog.create_topic("__consumer_offsets", 1)
        catalog.delete_topic("t")


@pytest.mark.parametrize("step", range(3))
async def test_a_deletion_that_fails_deletes_nothing(step: int) -> None:
    """Nor does it bring records back that were deleted before: all that it writes is written at once."""
    async with open_rig() as rig:
        partition = rig.data.catalog.partition("t", 1)
        partition.append_records([(b"key", b"value")], EPOCH_MS)
        await rig.services.flusher.wait_durable(partition.flush_ticket())
        rig.data.catalog.delete_records(partition, 1)
        await rig.services.flusher.wait_durable(rig.data.catalog.flush_ticket())
        disk = rig.disk.restarted()
    async with open_rig(disk, run=False) as rig:
        # As if no checkpoint had been written since the records were deleted.
        disk.unlink("/data/checkpoint")
        disk.failures = {disk.steps + step: errno.ENOSPC}
        with contextlib.suppress(KafkaStorageError):
            rig.data.catalog.delete_topic("t")
    catalog = (await recover(disk.restarted(), rig.data.settings, EPOCH_MS)).catalog
    assert ("t" in catalog.topics) == (step == 0)
    assert step or catalog.partition("t", 1).log_start_offset == 1


async def test_a_change_of_settings_bears_a_partition_that_is_offline() -> None:
    """A change of `flush.messages` has every partition flushed; one that could not be opened owes nothing to anybody."""
    async with open_rig() as rig:
        pass
    disk = rig.disk.restarted()
    disk.root.entries["data"].entries["t-1"] = Inode()  # type: ignore[union-attr]
    async with open_rig(disk) as rig:
        catalog = rig.data.catalog
        assert catalog.partition("t", 1).log.failure is not None
        catalog.alter_configs("t", {"flush.messages": "10"})
        catalog.alter_broker_configs({"log.flush.interval.messages": "20"}, {})
        await rig.services.flusher.wait_durable(catalog.flush_ticket())
        catalog.partition("t", 0).append_records([(b"key", b"value")], EPOCH_MS)


async def test_a_deleted_topic_is_forgotten() -> None:
    """Once its directories are out of sight: a client that makes and deletes topics for ever fills no memory."""
    async with open_rig() as rig:
        catalog = rig.data.catalog
        for _ in range(5):
            for partition in catalog.create_topic("n", 2).partitions:
                partition.append_records([(b"key", b"value")], EPOCH_MS)
            catalog.delete_topic("n")
            await rig.services.flusher.wait_durable(catalog.flush_ticket())
        assert not catalog.state.deleted_ids
        assert len(rig.data.removals) == 10


async def test_a_name_that_is_too_long_is_not_quoted() -> None:
    """Quoting 32 KB takes half a millisecond, and a request may ask for thousands of partitions of one such name."""
    async with open_rig() as rig:
        with pytest.raises(UnknownTopicOrPartition) as raised:
            rig.data.catalog.partition("\x01" * 32_767, 0)
    assert raised.value.message.count("x01") <= 249
