"""Kafka's own command-line tools take our broker, and our files, for Kafka's."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibroker.testing import BrokerThread
from tests.clients.foreign import CODECS, Message, write_with_confluent
from tests.clients.kafka_tools import KafkaTools, find_tools

pytestmark = pytest.mark.foreign

NOW_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def tools() -> KafkaTools:
    return find_tools()


@pytest.fixture(scope="module")
def broker(tools: KafkaTools) -> Iterator[BrokerThread]:
    with BrokerThread() as running:
        yield running


@pytest.fixture
def server(broker: BrokerThread) -> tuple[str, str]:
    return "--bootstrap-server", broker.address


def offsets(tools: KafkaTools, server: tuple[str, str], topic: str, time: str) -> list[str]:
    return tools.run("GetOffsetShell", *server, "--topic", topic, "--time", time).split()


def test_topic_command(tools: KafkaTools, server: tuple[str, str]) -> None:
    """Create, list, describe, grow, delete; what is refused is refused in its words."""
    create = ("TopicCommand", *server, "--create", "--topic", "topics")
    tools.run(*create, "--partitions", "2", "--replication-factor", "1", "--config", "retention.ms=100000")
    tools.run(*create, "--if-not-exists")
    assert "TopicExistsException" in tools.refused(*create)
    refused = tools.refused("TopicCommand", *server, "--create", "--topic", "two", "--replication-factor", "2")
    assert "InvalidReplicationFactorException" in refused
    assert "topics" in tools.run("TopicCommand", *server, "--list").split()
    described = tools.run("TopicCommand", *server, "--describe", "--topic", "topics")
    assert re.search(r"PartitionCount: 2\s+ReplicationFactor: 1\s+Configs: retention.ms=100000", described)
    assert re.search(r"Partition: 1\s+Leader: 0\s+Replicas: 0\s+Isr: 0", described)
    assert tools.run("TopicCommand", *server, "--describe", "--under-replicated-partitions") == ""
    tools.run("TopicCommand", *server, "--alter", "--topic", "topics", "--partitions", "4")
    assert offsets(tools, server, "topics", "latest") == [f"topics:{index}:0" for index in range(4)]
    tools.run("TopicCommand", *server, "--delete", "--topic", "topics")
    assert "topics" not in tools.run("TopicCommand", *server, "--list").split()


def test_config_command_on_a_topic(tools: KafkaTools, server: tuple[str, str], broker: BrokerThread) -> None:
    """Set, describe with synonyms, delete; an unknown setting is refused."""
    write_with_confluent(broker.address, "configs", [Message(b"k", b"v", NOW_MS)], "none")
    entity = (*server, "--entity-type", "topics", "--entity-name", "configs")
    tools.run(
        "kafka.admin.ConfigCommand", *entity, "--alter", "--add-config", "segment.ms=7,cleanup.policy=[compact,delete]"
    )
    described = tools.run("kafka.admin.ConfigCommand", *entity, "--describe")
    assert "DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, DEFAULT_CONFIG:log.cleanup.policy=delete" in described
    tools.run("kafka.admin.ConfigCommand", *entity, "--alter", "--delete-config", "segment.ms")
    assert "segment.ms" not in tools.run("kafka.admin.ConfigCommand", *entity, "--describe")
    assert "segment.ms=604800000" in tools.run("kafka.admin.ConfigCommand", *entity, "--describe", "--all")
    refused = tools.refused("kafka.admin.ConfigCommand", *entity, "--alter", "--add-config", "retention.sm=1")
    assert "InvalidConfigurationException" in refused


def test_config_command_on_brokers(tools: KafkaTools, server: tuple[str, str]) -> None:
    """This broker's settings and those of all; static ones are refused; loggers have levels."""
    entity = (*server, "--entity-type", "brokers", "--entity-name", "0")
    every = (*server, "--entity-type", "brokers", "--entity-default")
    tools.run("kafka.admin.ConfigCommand", *entity, "--alter", "--add-config", "log.retention.ms=1000000")
    tools.run("kafka.admin.ConfigCommand", *every, "--alter", "--add-config", "log.retention.ms=2000000")
    described = tools.run("kafka.admin.ConfigCommand", *entity, "--describe")
    assert (
        "DYNAMIC_BROKER_CONFIG:log.retention.ms=1000000, DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=2000000"
        in described
    )
    tools.run("kafka.admin.ConfigCommand", *entity, "--alter", "--delete-config", "log.retention.ms")
    tools.run("kafka.admin.ConfigCommand", *every, "--alter", "--delete-config", "log.retention.ms")
    assert "log.retention.ms" not in tools.run("kafka.admin.ConfigCommand", *entity, "--describe")
    refused = tools.refused("kafka.admin.ConfigCommand", *entity, "--alter", "--add-config", "num.partitions=3")
    assert "InvalidRequestException" in refused
    loggers = (*server, "--entity-type", "broker-loggers", "--entity-name", "0")
    assert "root=" in tools.run("kafka.admin.ConfigCommand", *loggers, "--describe")


def test_performance_tools(tools: KafkaTools, server: tuple[str, str]) -> None:
    """What ProducerPerformance writes is what ConsumerPerformance reads and what the offsets say."""
    written = tools.run(
        "ProducerPerformance", *server, "--topic", "speed", "--num-records", "20000", "--record-size", "100",
        "--throughput", "-1", "--command-property", "compression.type=lz4",
    )  # fmt: skip
    assert "20000 records sent" in written
    assert offsets(tools, server, "speed", "latest") == ["speed:0:20000"]
    read = tools.run(
        "ConsumerPerformance", *server, "--topic", "speed", "--num-records", "20000", "--hide-header",
    )  # fmt: skip
    assert read.split(",")[4].strip() == "20000"


def test_end_to_end_latency(tools: KafkaTools, broker: BrokerThread) -> None:
    """Each record is back before the next is sent."""
    measured = tools.run("EndToEndLatency", broker.address, "latency", "200", "all", "100")
    assert "Avg latency" in measured


def test_verifiable_producer(tools: KafkaTools, server: tuple[str, str]) -> None:
    """Every record is acknowledged, with its offset."""
    lines = tools.run("VerifiableProducer", *server, "--topic", "verified", "--max-messages", "500").splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    acknowledged = [event for event in events if event["name"] == "producer_send_success"]
    assert [event["offset"] for event in acknowledged] == list(range(500))
    assert events[-1]["name"] == "tool_data"
    assert (events[-1]["sent"], events[-1]["acked"]) == (500, 500)


def test_console_tools(tools: KafkaTools, server: tuple[str, str]) -> None:
    """Keys, values and an offset to begin from, in and out as text."""
    tools.run(
        "ConsoleProducer", *server, "--topic", "console", "--reader-property", "parse.key=true",
        "--reader-property", "key.separator=:", stdin="a:1\nb:2\nc:ü\n",
    )  # fmt: skip
    read = ("consumer.ConsoleConsumer", *server, "--topic", "console", "--formatter-property", "print.key=true")
    assert tools.run(*read, "--from-beginning", "--max-messages", "3") == "a\t1\nb\t2\nc\tü\n"
    assert tools.run(*read, "--partition", "0", "--offset", "1", "--max-messages", "2") == "b\t2\nc\tü\n"


def test_offsets_records_directories_and_cluster(
    tools: KafkaTools, server: tuple[str, str], broker: BrokerThread, tmp_path: Path
) -> None:
    """GetOffsetShell, DeleteRecordsCommand, LogDirsCommand, ClusterTool, BrokerApiVersionsCommand."""
    messages = [Message(b"k", b"v", NOW_MS + index) for index in range(10)]
    write_with_confluent(broker.address, "records", messages, "none")
    assert offsets(tools, server, "records", str(NOW_MS + 4)) == ["records:0:4"]
    assert offsets(tools, server, "records", "max-timestamp") == ["records:0:9"]
    wanted = tmp_path / "offsets.json"
    wanted.write_text('{"partitions": [{"topic": "records", "partition": 0, "offset": 6}], "version": 1}')
    deleted = tools.run("DeleteRecordsCommand", *server, "--offset-json-file", str(wanted))
    assert re.search(r"records-0\s+low_watermark: 6", deleted)
    assert offsets(tools, server, "records", "earliest") == ["records:0:6"]

    lines = tools.run("LogDirsCommand", *server, "--describe", "--topic-list", "records").splitlines()
    [directory] = json.loads(lines[-1])["brokers"][0]["logDirs"]
    assert (directory["logDir"], directory["error"]) == (broker.data_dir, None)
    [partition] = directory["partitions"]
    assert partition["partition"] == "records-0"
    assert partition["size"] == (Path(broker.data_dir) / "records-0" / f"{0:020}.log").stat().st_size

    cluster = tools.run("ClusterTool", "cluster-id", *server)
    assert broker.broker.running.services.cluster_id in cluster
    assert "Metadata(3): 0 to 13 [usable: 13]" in tools.run("BrokerApiVersionsCommand", *server)


def test_dump_log_segments_finds_no_fault(tools: KafkaTools, tmp_path: Path) -> None:
    """Segments of every codec and their indexes, read record by record by Kafka's own reader."""
    rng = random.Random(7)
    messages = [Message(b"k%d" % index, rng.randbytes(20).hex().encode(), NOW_MS + index) for index in range(400)]
    with BrokerThread(
        {"log.segment.bytes": "8192", "log.index.interval.bytes": "512"}, data_dir=str(tmp_path)
    ) as broker:
        for codec in CODECS:
            for start in range(0, 400, 50):
                write_with_confluent(broker.address, codec, messages[start : start + 50], codec)
    for codec in CODECS:
        files = sorted(
            path for path in (tmp_path / f"{codec}-0").iterdir() if path.suffix in (".log", ".index", ".timeindex")
        )
        assert len(files) > 3
        assert any(path.suffix == ".index" and path.stat().st_size for path in files)
        dumped = tools.dump("--deep-iteration", "--files", ",".join(map(str, files)))
        _assert_faultless(dumped)
        found = [int(offset) for offset in re.findall(r"^\| offset: (\d+)", dumped, re.MULTILINE)]
        assert found == list(range(400))


def test_dump_log_segments_understands_committed_offsets(tools: KafkaTools, tmp_path: Path) -> None:
    """The records of __consumer_offsets are Kafka's, group metadata included."""
    with BrokerThread({"offsets.topic.num.partitions": "1"}, data_dir=str(tmp_path)) as broker:
        server = ("--bootstrap-server", broker.address)
        write_with_confluent(broker.address, "t", [Message(b"k", b"v", NOW_MS)] * 3, "none")
        read = ("consumer.ConsoleConsumer", *server, "--topic", "t", "--from-beginning", "--max-messages", "3")
        tools.run(*read, "--group", "readers")
    log = tmp_path / "__consumer_offsets-0" / f"{0:020}.log"
    dumped = tools.dump("--offsets-decoder", "--files", str(log))
    _assert_faultless(dumped)
    assert re.search(r'"group":"readers","topic":"t","partition":0.*"offset":3', dumped)
    assert re.search(r'"group":"readers".*"protocolType":"consumer"', dumped)


def _assert_faultless(dumped: str) -> None:
    """DumpLogSegments exits with 0 also when it finds something wrong, and says so."""
    assert "isvalid: false" not in dumped.lower()
    assert not re.search(r"mismatch|non-consecutive|out of order|corrupt|exception|missing", dumped, re.IGNORECASE)
