"""The background scrub finds damage that no reader has met, and leaves the rest alone."""

from pathlib import Path

import trio

from minibroker.client import Consumer, Producer, Seek, Start
from minibroker.server.maintenance import SCRUB_AGAIN_S, Maintenance
from minibroker.testing import open_broker

BATCHES = 20


async def write(address: str) -> None:
    async with Producer(address, linger_ms=0) as producer:
        for number in range(BATCHES):
            delivery = await producer.send("t", b"%02d" % number * 50)
            await delivery.wait()


async def read_last(address: str) -> bytes | None:
    async with Consumer(address, topics=["t"], start=Seek(Start.OFFSET, BATCHES - 1)) as consumer:
        with trio.fail_after(20):
            async for record in consumer:
                return record.value
    return None


async def test_a_flipped_bit_is_found_and_the_rest_is_served(tmp_path: Path) -> None:
    """After a restart a scrub quarantines what rotted at rest; what follows it is read as before."""
    async with open_broker(data_dir=str(tmp_path)) as broker:
        await write(broker.address)
    log_file = tmp_path / "t-0" / f"{0:020}.log"
    content = bytearray(log_file.read_bytes())
    content[len(content) // 2] ^= 0x10
    log_file.write_bytes(content)

    async with open_broker({"minibroker.scrub.bytes.per.second": 1 << 40}, data_dir=str(tmp_path)) as broker:
        data = broker.running.data
        log = data.catalog.partition("t", 0).log
        assert log.damaged == []
        await Maintenance(data).scrub()
        assert len(log.damaged) == 1
        damage = log.damaged[0]
        assert 0 < damage.start_offset < damage.end_offset < BATCHES
        assert await read_last(broker.address) == b"%02d" % (BATCHES - 1) * 50


async def test_what_rots_while_the_broker_runs_is_found_in_time(tmp_path: Path) -> None:
    """What was good when it was written is checked again when that is a week ago; what follows it is read as before."""
    async with open_broker({"minibroker.scrub.bytes.per.second": 1 << 40}, data_dir=str(tmp_path)) as broker:
        await write(broker.address)
        log = broker.running.data.catalog.partition("t", 0).log
        log_file = tmp_path / "t-0" / f"{0:020}.log"
        with log_file.open("r+b") as file:
            file.seek(log_file.stat().st_size // 2)
            file.write(b"!")
        maintenance = Maintenance(broker.running.data)
        await maintenance.scrub()
        assert log.damaged == []
        maintenance._scrubbed_at -= SCRUB_AGAIN_S
        await maintenance.scrub()
        assert len(log.damaged) == 1
        assert await read_last(broker.address) == b"%02d" % (BATCHES - 1) * 50
