"""How to run our broker, and the Kafka it is compared with."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Final

from tests.benchmarks.processes import ROOT, BenchmarkError, BrokerProcess

PEER_VARIABLE: Final = "TEST_PEER_KAFKA"
PEER_DEFAULT: Final = ROOT.parent / "shared" / "peers" / "kafka"

# What Kafka's own start script gives the JVM.
JAVA_FLAGS: Final = (
    "-Xms1G",
    "-Xmx1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
)

# Defaults but for what one node needs and what keeps one run out of the next: Kafka deletes files a minute late.
KAFKA_SETTINGS: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={logs}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.delete.delay.ms=100
"""


def free_port() -> int:
    """A port of the loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def our_broker(directory: Path, name: str, command: tuple[str, ...] = ()) -> BrokerProcess:
    """Our broker on a new data directory, not yet started. ``command`` replaces ``python broker.py``."""
    directory.mkdir(parents=True)
    address = f"127.0.0.1:{free_port()}"
    data = directory / "data"
    program = command or (sys.executable, str(ROOT / "broker.py"))
    return BrokerProcess(name, address, [*program, "--listen", address, "--data-dir", str(data)], directory, data)


class KafkaPeer:
    """Apache Kafka and its tools, through the script that installs them. Raises BenchmarkError if it is not there."""

    def __init__(self, script: Path | None = None) -> None:
        self.script = script or Path(os.environ.get(PEER_VARIABLE, PEER_DEFAULT))
        if not self.script.exists():
            raise BenchmarkError(f"no Kafka to compare with: {self.script} does not exist; {PEER_VARIABLE} may name it")
        if shutil.which("java") is None:
            raise BenchmarkError("no Kafka to compare with: java is not installed")
        self.version = self._run("install").strip()
        self.classpath = self._run("classpath").strip()

    def broker(self, directory: Path, name: str) -> BrokerProcess:
        """A Kafka on a new, formatted data directory, not yet started."""
        directory.mkdir(parents=True)
        address, logs = f"127.0.0.1:{free_port()}", directory / "logs"
        settings = directory / "server.properties"
        settings.write_text(KAFKA_SETTINGS.format(address=address, controller=free_port(), logs=logs))
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "m", 1)
        self.tool("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings))
        configuration = Path(self.classpath).parent / "log4j2-INFO.xml"
        logging = f"-Dlog4j2.configurationFile={configuration}"
        command = ["java", *JAVA_FLAGS, "-cp", self.classpath, logging, "kafka.Kafka", str(settings)]
        return BrokerProcess(name, address, command, directory, logs)

    def tool(self, *arguments: str) -> str:
        """Run one of Kafka's tools to its end; what it printed. Raises BenchmarkError."""
        return self._run("tool", *arguments)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([self.script, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"{self.script} {' '.join(arguments)}: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout
