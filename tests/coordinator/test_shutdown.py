"""A broker that ends while members wait for each other."""

import struct

import trio

from minibroker.protocol.codec import decode_message
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.framing import decode_response_header, encode_request
from minibroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from minibroker.testing import open_broker
from tests.coordinator.rig import joining

VERSION = 9


async def ask(stream: trio.SocketStream, request: JoinGroupRequest) -> JoinGroupResponse:
    await stream.send_all(b"".join(encode_request(1, "c", request, VERSION)))
    received = b""
    while len(received) < 4 or len(received) < 4 + struct.unpack_from(">i", received)[0]:
        received += await stream.receive_some(65536)
    frame = memoryview(received)[4:]
    _, position = decode_response_header(frame, request.api, VERSION)
    return decode_message(JoinGroupResponse, VERSION, frame[position:])


async def test_a_held_join_does_not_hold_the_broker() -> None:
    """It is answered, and the connection ends in order: the client looks for the coordinator again at once."""
    async with open_broker({"group.initial.rebalance.delay.ms": 300_000}) as broker:
        machine = broker.running.services.coordinator.machine
        answers: list[JoinGroupResponse] = []
        async with await trio.open_tcp_stream(broker.host, broker.port) as stream, trio.open_nursery() as nursery:

            async def join() -> None:
                member_id = (await ask(stream, joining())).member_id
                answers.append(await ask(stream, joining(member_id, rebalance_timeout_ms=600_000)))
                assert await stream.receive_some() == b""

            nursery.start_soon(join)
            while machine.state_of("g").value != "PreparingRebalance":
                await trio.lowlevel.checkpoint()
            broker.running.stop()
        assert answers[0].error_code == ErrorCode.NOT_COORDINATOR
