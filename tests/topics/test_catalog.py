"""The catalog keeps nothing that a client may make as large as it likes, and forgets what is gone."""

from __future__ import annotations

import pytest

from minibroker.protocol.errors import InvalidConfig, InvalidPartitions, InvalidRequest, UnknownTopicOrPartition
from tests.coordinator.rig import open_rig

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
        catalog.delete_topic("n")
        catalog.create_partitions("t", 9)


async def test_a_deleted_topic_is_forgotten() -> None:
    """Once its directories are out of sight: a client that makes and deletes topics for ever fills no memory."""
    async with open_rig() as rig:
        catalog = rig.data.catalog
        for _ in range(5):
            catalog.create_topic("n", 2)
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
