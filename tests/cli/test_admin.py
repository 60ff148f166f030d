"""The admin program against a broker."""

from typing import Any

import pytest

from tests.cli.program import Programs


def test_topics_are_created_listed_described_and_deleted(program: Programs, topic: str) -> None:
    """The life of a topic."""
    program.succeed(f"admin topics create {topic} --partitions 3 --config retention.ms=60000")
    program.succeed(f"produce {topic} --partition 1 a b")
    listed: Any = program.succeed("admin topics --json").json
    (row,) = [row for row in listed if row["topic"] == topic]
    assert (row["partitions"], row["replicas"], row["records"]) == (3, 1, 2)
    assert row["bytes"] > 0
    (details,) = program.succeed(f"admin topics describe {topic} --json").json  # type: ignore[misc]
    assert details["configs"] == {"retention.ms": "60000"}
    assert [(row["partition"], row["begin"], row["end"]) for row in details["partitions"]] == [
        (0, 0, 0),
        (1, 0, 2),
        (2, 0, 0),
    ]
    assert program.succeed(f"admin topics describe {topic}").lines[0].startswith(f"topic {topic}, id ")
    program.succeed(f"admin topics delete {topic}")
    assert topic not in program.succeed("admin topics").out


def test_what_a_broker_refuses_is_one_line(program: Programs, topic: str) -> None:
    """Kafka's name of the error and what it was about."""
    program.succeed(f"admin topics create {topic}")
    for command, problem in [
        (f"admin topics create {topic}", "TOPIC_ALREADY_EXISTS"),
        (f"admin topics create {topic}-2 --config nope=1", "INVALID_CONFIG"),
        (f"admin topics create {topic}-2 --replication-factor 9", "INVALID_REPLICATION_FACTOR"),
        ("admin topics create 'no good'", "INVALID_TOPIC_EXCEPTION"),
        (f"admin topics describe {topic}-2", "UNKNOWN_TOPIC_OR_PARTITION"),
        (f"admin topics delete {topic}-2", "UNKNOWN_TOPIC_OR_PARTITION"),
        (f"admin topics add-partitions {topic} 1", "INVALID_PARTITIONS"),
        (f"admin topics delete-records {topic} --before 5", "OFFSET_OUT_OF_RANGE"),
        (f"admin configs set retention.ms=soon --topic {topic}", "INVALID_CONFIG"),
        (f"admin group {topic}", "GROUP_ID_NOT_FOUND"),
        (f"admin group {topic} delete", "GROUP_ID_NOT_FOUND"),
    ]:
        outcome = program(command)
        assert outcome.status == 1, command
        assert outcome.err.startswith(f"minibroker: {problem}: "), command
        assert outcome.err.count("\n") == 1
    program.succeed(f"admin topics create {topic} --if-not-exists")


def test_partitions_are_added_and_records_deleted(program: Programs, topic: str) -> None:
    """A topic grows; its oldest records go, by offset, by count from the end, or all."""
    program.succeed(f"produce {topic} 0 1 2 3 4 5")
    program.succeed(f"admin topics add-partitions {topic} 2")
    begins: Any = program.succeed(f"admin topics delete-records {topic} --before 2 --partition 0 --json").json
    assert begins == [{"topic": topic, "partition": 0, "begin": 2}]
    assert program.succeed(f"consume {topic} --exit").lines == ["2", "3", "4", "5"]
    program.succeed(f"admin topics delete-records {topic} --before=-1")
    assert program.succeed(f"consume {topic} --exit").lines == ["5"]
    program.succeed(f"admin topics delete-records {topic} --before end")
    assert program.succeed(f"consume {topic} --exit").lines == []


def test_settings_are_shown_set_and_unset(program: Programs, topic: str) -> None:
    """What is set is shown with its source; --all shows the defaults too, --explain what they are for."""
    program.succeed(f"admin topics create {topic}")
    program.succeed(f"admin configs set retention.ms=60000 max.message.bytes=2000 --topic {topic}")
    program.succeed(f"admin configs unset max.message.bytes --topic {topic}")
    own: Any = program.succeed(f"admin configs show --topic {topic} --json").json
    assert [row for row in own if row["source"] == "topic"] == [
        {"name": "retention.ms", "value": "60000", "source": "topic", "read_only": False}
    ]
    every: Any = program.succeed(f"admin configs show --topic {topic} --all --explain --json").json
    assert {row["name"]: row["source"] for row in every}["segment.bytes"] == "default"
    assert all(row["documentation"] for row in every)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("configs show", "expected --topic or --node to say whose settings, found neither"),
        ("configs set retention.ms --topic t", "configs set expects KEY=VALUE, found 'retention.ms'"),
        ("group g reset", "reset expects --to or --shift, found neither"),
        ("group g reset --to 1 --shift 1", "reset expects --to or --shift, found both"),
        ("group g reset --to soon", "--to expects beginning, end, an offset"),
        ("group g destroy", "destroy"),
        ("topics create t --config a", "--config expects KEY=VALUE, found 'a'"),
    ],
)
def test_flags_that_make_no_sense_are_refused(command: str, problem: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One line, status 2, and no broker is bothered."""
    outcome = Programs("127.0.0.1:1", capfd)(f"admin {command}")
    assert outcome.status == 2
    assert problem in outcome.err
    assert outcome.err.count("\n") == 1


def test_the_cluster_is_shown(program: Programs, bootstrap: str) -> None:
    """Its id, and each broker with its address and data directories."""
    details: Any = program.succeed("admin cluster --json").json
    assert details["cluster_id"]
    assert bootstrap in [broker["address"] for broker in details["brokers"]]
    assert all(broker["directories"] for broker in details["brokers"])
    assert program.succeed("admin cluster").lines[0].startswith(f"cluster {details['cluster_id']}, controller ")


def test_a_group_is_shown_with_its_lag(program: Programs, topic: str, group: str) -> None:
    """Per partition what is committed, where the log ends, how far and for how long it is behind."""
    program.succeed(f"produce {topic} a b c")
    program.succeed(f"consume {topic} --group {group} --max 1")
    (row,) = program.succeed(f"admin group {group} --json").json  # type: ignore[misc]
    assert {name: row[name] for name in ("topic", "partition", "committed", "end", "lag", "member")} == {
        "topic": topic,
        "partition": 0,
        "committed": 1,
        "end": 3,
        "lag": 2,
        "member": None,
    }
    assert row["age_s"] >= 0
    assert "total lag 2" in program.succeed(f"admin group {group}").lines[0]
    listed: Any = program.succeed("admin groups --json").json
    (line,) = [line for line in listed if line["group"] == group]
    assert (line["state"], line["members"], line["lag"]) == ("Empty", 0, 2)


@pytest.mark.parametrize(
    ("how", "new"),
    [
        ("--to beginning", 0),
        ("--to end", 3),
        ("--to 2", 2),
        ("--to=-1", 2),
        ("--to 99", 3),
        ("--shift 1", 2),
        ("--shift -5", 0),
    ],
)
def test_a_reset_is_shown_first_and_done_on_demand(
    program: Programs, topic: str, group: str, how: str, new: int
) -> None:
    """Without --execute nothing changes, and the program says so; with it, the group goes on from there."""
    program.succeed(f"produce {topic} a b c")
    program.succeed(f"consume {topic} --group {group} --max 1")
    planned = program.succeed(f"admin group {group} reset {how} --json")
    assert planned.json == [{"topic": topic, "partition": 0, "committed": 1, "new": new}]
    assert planned.err == "Nothing has been changed; --execute does it.\n"
    (row,) = program.succeed(f"admin group {group} --json").json  # type: ignore[misc]
    assert row["committed"] == 1
    assert program.succeed(f"admin group {group} reset {how} --execute").err == ""
    (row,) = program.succeed(f"admin group {group} --json").json  # type: ignore[misc]
    assert row["committed"] == new


def test_groups_and_their_offsets_are_deleted(program: Programs, topic: str, group: str) -> None:
    """One topic's offsets, or the whole group."""
    for name in (f"{topic}-1", f"{topic}-2"):
        program.succeed(f"produce {name} a")
        program.succeed(f"consume {name} --group {group} --exit")
    program.succeed(f"admin group {group} delete-offsets --topic {topic}-1")
    rows: Any = program.succeed(f"admin group {group} --json").json
    assert [row["topic"] for row in rows] == [f"{topic}-2"]
    program.succeed(f"admin group {group} delete")
    assert group not in program.succeed("admin groups").out
