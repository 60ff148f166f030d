"""kcat, and clients in Go and Node, do a round on our broker. Run with `-m foreign`; what is missing is said aloud.

A round: write records with keys and headers, read them back in a consumer group, and let librdkafka read them too. The
clients come from their own registries into a cache directory (`TEST_CACHE`, by default ~/.cache/minibroker-tests).
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from minibroker.testing import BrokerThread
from tests.clients.foreign import read_with_confluent

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("TEST_CACHE", Path.home() / ".cache" / "minibroker-tests"))
COUNT = 500
WRITTEN = [f"k{n} v{n} {n}" for n in range(COUNT)]


def program(name: str) -> str:
    """The path of a program, or a skip that names it."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on the PATH")
    return path


def run(*command: str | Path, cwd: Path | None = None, stdin: str = "") -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def go_round() -> list[str]:
    go = program("go")
    directory = CACHE / "go"
    shutil.copytree(HERE / "go", directory, dirs_exist_ok=True)
    run(go, "mod", "tidy", cwd=directory)
    run(go, "build", "-o", "round", ".", cwd=directory)
    return [str(directory / "round")]


@pytest.fixture(scope="module")
def node_round() -> list[str]:
    node, npm = program("node"), program("npm")
    directory = CACHE / "node"
    shutil.copytree(HERE / "node", directory, dirs_exist_ok=True)
    run(npm, "install", "--silent", "--no-fund", "kafkajs@2", "@platformatic/kafka@1", cwd=directory)
    return [node, str(directory / "round.mjs")]


@pytest.mark.parametrize("client", ["franz", "sarama"])
def test_go_clients_do_their_round(minibroker: BrokerThread, go_round: list[str], client: str) -> None:
    """franz-go (the newest versions of everything) and sarama (no negotiation) write, join a group and read."""
    check_round(minibroker, go_round, client)


@pytest.mark.parametrize("client", ["kafkajs", "platformatic"])
def test_node_clients_do_their_round(minibroker: BrokerThread, node_round: list[str], client: str) -> None:
    """kafkajs (old versions only) and @platformatic/kafka (new ones only) write, join a group and read."""
    check_round(minibroker, node_round, client)


def check_round(broker: BrokerThread, command: list[str], client: str) -> None:
    read = run(*command, client, broker.address, f"round-{client}", str(COUNT)).splitlines()
    assert read == WRITTEN
    found = read_with_confluent(broker.address, f"round-{client}", COUNT)
    assert [message.key for message in found] == [b"k%d" % n for n in range(COUNT)]


def test_kcat_does_its_round(minibroker: BrokerThread) -> None:
    """kcat produces with a key and headers, lists, consumes from the beginning, from the tail and as a group."""
    kcat = program("kcat")
    base = [kcat, "-b", minibroker.address]
    run(
        *base,
        "-P",
        "-t",
        "t",
        "-K",
        ":",
        "-H",
        "n=1",
        "-z",
        "snappy",
        stdin="".join(f"k{n}:v{n}\n" for n in range(COUNT)),
    )
    read = run(*base, "-C", "-t", "t", "-e", "-q", "-f", "%k %s %h\n").splitlines()
    assert read == [f"k{n} v{n} n=1" for n in range(COUNT)]
    assert run(*base, "-C", "-t", "t", "-o", "-2", "-e", "-q").splitlines() == [f"v{COUNT - 2}", f"v{COUNT - 1}"]
    assert 'topic "t" with 1 partitions' in run(*base, "-L")
    grouped = run(*base, "-G", "g", "-X", "auto.offset.reset=earliest", "-c", str(COUNT), "-q", "t")
    assert len(grouped.splitlines()) == COUNT
