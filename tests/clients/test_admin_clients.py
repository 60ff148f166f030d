"""The admin clients of confluent-kafka, kafka-python and aiokafka manage topics, partitions, settings and records."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from minibroker.testing import BrokerThread
from tests.clients.foreign import DEADLINE_S


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerThread]:
    with BrokerThread({"num.partitions": "2"}) as running:
        yield running


def write_ten(broker: BrokerThread, topic: str) -> None:
    """Ten records in partition 0."""
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 0})
    for _ in range(10):
        producer.produce(topic, b"value", b"key", partition=0)
    assert producer.flush(DEADLINE_S) == 0


def only(futures: dict[Any, Any]) -> Any:
    """The result of the one thing that was asked of confluent-kafka."""
    [future] = futures.values()
    return future.result(DEADLINE_S)


def test_confluent(broker: BrokerThread) -> None:
    """librdkafka: its newest versions of every API, with its own words for what is refused."""
    from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
    from confluent_kafka.admin import (
        AdminClient,
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        NewPartitions,
        NewTopic,
        OffsetSpec,
    )

    admin = AdminClient({"bootstrap.servers": broker.address})
    assert only(admin.create_topics([NewTopic("c", 1, 1, config={"retention.ms": "5000"})])) is None
    with pytest.raises(KafkaException) as caught:
        only(admin.create_topics([NewTopic("c", 1, 1)]))
    assert caught.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    only(admin.create_partitions([NewPartitions("c", 3)]))
    described = only(admin.describe_topics(TopicCollection(["c"]), include_authorized_operations=True))
    assert [partition.id for partition in described.partitions] == [0, 1, 2]
    assert len(described.authorized_operations) == 8

    topic = ConfigResource(ConfigResource.Type.TOPIC, "c")
    change = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND)
    only(admin.incremental_alter_configs([ConfigResource(topic.restype, "c", incremental_configs=[change])]))
    configs = only(admin.describe_configs([topic]))
    assert (configs["retention.ms"].value, configs["cleanup.policy"].value) == ("5000", "delete,compact")
    assert list(configs["retention.ms"].synonyms) == ["retention.ms", "log.retention.hours"]
    brokers = only(admin.describe_configs([ConfigResource(ConfigResource.Type.BROKER, "0")]))
    assert brokers["advertised.listeners"].value == f"PLAINTEXT://{broker.address}"

    write_ten(broker, "c")
    first = TopicPartition("c", 0, 4)
    assert only(admin.delete_records([first])).low_watermark == 4
    assert only(admin.list_offsets({TopicPartition("c", 0): OffsetSpec.earliest()})).offset == 4
    assert [node.id for node in admin.describe_cluster().result(DEADLINE_S).nodes] == [0]
    # Of all topics, librdkafka asks with a request that is longer than it should be.
    assert "c" in admin.list_topics(timeout=DEADLINE_S).topics
    only(admin.delete_topics(["c"]))
    assert "c" not in admin.list_topics(timeout=DEADLINE_S).topics


def test_kafka_python(broker: BrokerThread) -> None:
    """kafka-python: broker defaults for what is left out, describe, delete by name."""
    from kafka import KafkaAdminClient, TopicPartition
    from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions
    from kafka.errors import OffsetOutOfRangeError

    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    try:
        admin.create_topics(["kp"])
        assert len(admin.describe_topics(["kp"])[0]["partitions"]) == 2
        admin.create_partitions({"kp": NewPartitions(3, [[0]])})
        assert len(admin.describe_topics(["kp"])[0]["partitions"]) == 3
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "kp", configs={"segment.ms": "7"})])
        wanted = [ConfigResource(ConfigResourceType.TOPIC, "kp"), ConfigResource(ConfigResourceType.BROKER, "0")]
        configs = admin.describe_configs(wanted, config_filter="all")
        assert configs["topic"]["kp"]["segment.ms"]["value"] == "7"
        assert configs["broker"]["0"]["advertised.listeners"]["config_source"] == "STATIC_BROKER_CONFIG"
        write_ten(broker, "kp")
        partition = TopicPartition("kp", 0)
        assert admin.delete_records({partition: -1})[partition]["low_watermark"] == 10
        with pytest.raises(OffsetOutOfRangeError):
            admin.delete_records({partition: 11})
        [directory] = admin.describe_log_dirs()[0]["log_dirs"]
        assert directory["log_dir"] == broker.data_dir
        assert (
            admin.describe_topic_partitions(["kp"], response_partition_limit=1)["next_cursor"]["partition_index"] == 1
        )
        admin.delete_topics(["kp"])
        assert "kp" not in admin.list_topics()
    finally:
        admin.close()


def test_aiokafka(broker: BrokerThread) -> None:
    """aiokafka: the oldest versions of every API."""
    from aiokafka import TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    async def manage() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
        await admin.start()
        try:
            await admin.create_topics([NewTopic("aio", 2, 1, topic_configs={"retention.ms": "5000"})])
            await admin.create_partitions({"aio": NewPartitions(3)})
            [described] = await admin.describe_topics(["aio"])
            assert len(described["partitions"]) == 3
            resource = ConfigResource(ConfigResourceType.TOPIC, "aio", configs={"segment.ms": "7"})
            await admin.alter_configs([resource])
            [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "aio")])
            configs = {config[0]: config[1] for config in response.resources[0][4]}
            assert (configs["segment.ms"], configs["retention.ms"]) == ("7", "604800000")
            write_ten(broker, "aio")
            first = TopicPartition("aio", 0)
            assert await admin.delete_records({first: RecordsToDelete(3)}) == {first: 3}
            assert [node["node_id"] for node in (await admin.describe_cluster())["brokers"]] == [0]
            await admin.delete_topics(["aio"])
            assert "aio" not in await admin.list_topics()
        finally:
            await admin.close()

    asyncio.run(manage())
