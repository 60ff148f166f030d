"""What CreateTopics and CreatePartitions share: an answer for each topic, and where partitions may be placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, TypeVar

from minibroker.handlers.turns import Steps
from minibroker.protocol.errors import InvalidReplicaAssignment, InvalidRequest, KafkaError
from minibroker.storage.timestamps import Step


class Named(Protocol):
    """What a request says of one topic."""

    name: str


STEPS_PER_TOPIC = 200
"""At least so much is to be done for each, even if nothing is made."""
TopicT = TypeVar("TopicT", bound=Named)
ResultT = TypeVar("ResultT")


def answer_each(
    topics: Sequence[TopicT],
    answer: Callable[[TopicT], Generator[Step, Any, ResultT]],
    result: Callable[..., ResultT],
    results: list[ResultT],
) -> Steps:
    """Fill `results` with each topic's `answer`, or the `result` that carries its error. One named twice is refused once."""
    named = Counter(topic.name for topic in topics)
    for topic in {topic.name: topic for topic in topics}.values():
        try:
            if named[topic.name] > 1:
                raise InvalidRequest(f"expected each topic once, found {topic.name!r} {named[topic.name]} times")
            results.append((yield from answer(topic)))
        except KafkaError as error:
            results.append(result(name=topic.name, error_code=error.code, error_message=error.message))
        yield STEPS_PER_TOPIC


def check_replicas(broker_ids: Sequence[int], node_id: int) -> None:
    """Raise InvalidReplicaAssignment unless a partition is placed on this broker, once: there is no other place."""
    if list(broker_ids) != [node_id]:
        raise InvalidReplicaAssignment(
            f"expected each partition on broker {node_id}, the only one there is, found {list(broker_ids)}"
        )
