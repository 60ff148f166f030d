"""Real clients: librdkafka against both brokers; our client against the others, all on our broker."""

from __future__ import annotations

from typing import Final, Literal, get_args

from minibroker.load.specs import ACKS_LEADER, ProduceSpec, Span
from tests.benchmarks.case import KAFKA, OURS, Bench, Case, Sample, Turn
from tests.benchmarks.loads.clients import ClientName, ClientSpec
from tests.benchmarks.processes import run_load

SIZES: Final = {"100b": 100, "1kib": 1024}
TO_READ_BYTES: Final = 400_000_000


def client_turn(client: ClientName, work: Literal["produce", "consume"], record_bytes: int, side: str = OURS) -> Turn:
    """Produce to, or consume from, a new topic with one partition."""

    def turn(bench: Bench) -> Sample:
        broker = bench.broker(side)
        with bench.topic(broker) as topic:
            if work == "consume":
                to_read = TO_READ_BYTES // (4 if bench.quick else 1)
                fill = Span(warm_up_s=0, seconds=60, max_bytes=to_read)
                source = ProduceSpec(
                    address=broker.address, topic=topic, acks=ACKS_LEADER, record_bytes=record_bytes, span=fill
                )
                run_load("produce", source)
            load = ClientSpec(
                address=broker.address,
                topic=topic,
                client=client,
                work=work,
                seconds=bench.seconds,
                record_bytes=record_bytes,
            )
            return run_load("client", load)

    return turn


def _clients(work: Literal["produce", "consume"]) -> tuple[ClientName, ...]:
    names: tuple[ClientName, ...] = get_args(ClientName)
    return tuple(name for name in names if work == "consume" or name != "minibroker-batches")


CASES: Final = (
    *(
        Case(
            name=f"librdkafka-{size}",
            work=f"librdkafka (confluent-kafka), records of {record_bytes} bytes, acks=all",
            sides={side: client_turn("confluent", "produce", record_bytes, side) for side in (OURS, KAFKA)},
        )
        for size, record_bytes in SIZES.items()
    ),
    *(
        Case(
            name=f"client-{work}-{size}",
            work=f"Python clients, {work}, records of {record_bytes} bytes",
            sides={client: client_turn(client, work, record_bytes) for client in _clients(work)},
        )
        for work in get_args(Literal["produce", "consume"])
        for size, record_bytes in SIZES.items()
    ),
)
