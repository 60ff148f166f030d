"""DeleteTopics (20), versions 1-6: removes topics with their records.

- v6 names topics by name or by id (KIP-516), and answers both. A topic that is named twice, in whichever way, is refused
  and stays. v5 adds messages.
- The answer waits until the deletion is durable; files are removed after that. `delete.topic.enable=false` forbids it all.
- The broker's own topics are refused (INVALID_TOPIC_EXCEPTION), where Kafka deletes `__consumer_offsets` if asked.
"""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from minibroker.handlers.context import Reply, RequestContext
from minibroker.handlers.turns import Steps, answer_in_turns
from minibroker.protocol.errors import (
    InvalidRequest,
    KafkaError,
    TopicDeletionDisabled,
    UnknownTopicId,
    UnknownTopicOrPartition,
)
from minibroker.protocol.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)
from minibroker.topics.catalog import Catalog
from minibroker.topics.names import CLUSTER_METADATA

NO_ID = UUID(int=0)
STEPS_PER_TOPIC = 20


def handle(request: DeleteTopicsRequest, context: RequestContext) -> Reply:
    """Delete every topic that is named once."""
    services = context.services
    states = request.topics if context.version >= 6 else [DeleteTopicState(name=name) for name in request.topic_names]
    response = DeleteTopicsResponse()
    return answer_in_turns(_delete_each(states, response, context), response, services.catalog.flush_ticket, services)


def _delete_each(states: list[DeleteTopicState], response: DeleteTopicsResponse, context: RequestContext) -> Steps:
    services, catalog = context.services, context.services.catalog
    doubtful = _named_twice(states, catalog)
    results: dict[tuple[str | None, UUID], DeletableTopicResult] = {}
    for state in states:
        try:
            if not services.settings.delete_topic_enable:
                raise TopicDeletionDisabled("delete.topic.enable is false")
            if _identity(state, catalog) in doubtful:
                raise InvalidRequest("expected each topic once")
            result = _delete(state, catalog)
        except KafkaError as error:
            result = DeletableTopicResult(
                name=state.name if state.name is not None or context.version >= 6 else "",
                topic_id=state.topic_id,
                error_code=error.code,
                error_message=error.message,
            )
        results[state.name, state.topic_id] = result
        yield STEPS_PER_TOPIC
    response.responses = list(results.values())


def _identity(state: DeleteTopicState, catalog: Catalog) -> UUID | str:
    """What a request means: a topic by its id where it exists, else the words of the request."""
    topic = None if state.name is None else catalog.topics.get(state.name)
    return topic.id if topic is not None else state.topic_id if state.name is None else state.name


def _named_twice(states: list[DeleteTopicState], catalog: Catalog) -> set[UUID | str]:
    counts = Counter(_identity(state, catalog) for state in states)
    return {identity for identity, count in counts.items() if count > 1}


def _delete(state: DeleteTopicState, catalog: Catalog) -> DeletableTopicResult:
    if (state.name is None) == (state.topic_id == NO_ID):
        raise InvalidRequest("expected either a name or an id of a topic")
    if state.name is None:
        topic = catalog.topic_by_id(state.topic_id)
        if topic is None:
            raise UnknownTopicId(f"there is no topic of the id {state.topic_id}")
    elif state.name == CLUSTER_METADATA:
        raise UnknownTopicOrPartition("there is no such topic for clients to delete")
    else:
        topic = catalog.topic(state.name)
    catalog.delete_topic(topic.name)
    return DeletableTopicResult(name=topic.name, topic_id=topic.id)
