"""Kafka's error codes, the exceptions that carry them, and the one for bytes that are not Kafka's protocol.

Codes, names and which of them a client may retry: Apache Kafka 4.3, ``org.apache.kafka.common.protocol.Errors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Final

RETRIABLE: Final = True
FINAL: Final = False


class ProtocolError(Exception):
    """The bytes are not Kafka's protocol; the connection they came from cannot be trusted any further."""


class TooManyElements(ProtocolError):
    """A message has more elements than it may have; see ``schema.Message.max_elements``."""


class ErrorCode(IntEnum):
    """What goes into an ``error_code`` field. ``meaning`` is a sentence for people."""

    retriable: bool
    """Whether the same request may succeed later, possibly at another broker."""

    meaning: str

    def __new__(cls, value: int, retriable: bool, meaning: str) -> ErrorCode:
        """Keep the number as the value and the rest as attributes."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.retriable = retriable
        member.meaning = meaning
        return member

    UNKNOWN_SERVER_ERROR = -1, FINAL, "the server failed in a way it did not expect"
    NONE = 0, FINAL, "no error"
    OFFSET_OUT_OF_RANGE = 1, FINAL, "the offset lies outside the log"
    CORRUPT_MESSAGE = 2, RETRIABLE, "the batch fails its CRC, contradicts its size or is otherwise damaged"
    UNKNOWN_TOPIC_OR_PARTITION = 3, RETRIABLE, "this broker has no such topic or partition"
    INVALID_FETCH_SIZE = 4, FINAL, "the fetch size makes no sense"
    LEADER_NOT_AVAILABLE = 5, RETRIABLE, "the partition has no leader at the moment"
    NOT_LEADER_OR_FOLLOWER = 6, RETRIABLE, "this broker does not hold that role for the partition"
    REQUEST_TIMED_OUT = 7, RETRIABLE, "the request was not completed in time"
    BROKER_NOT_AVAILABLE = 8, FINAL, "the broker is not available"
    REPLICA_NOT_AVAILABLE = 9, RETRIABLE, "the replica is not available"
    MESSAGE_TOO_LARGE = 10, FINAL, "the batch is larger than max.message.bytes"
    STALE_CONTROLLER_EPOCH = 11, FINAL, "the controller has moved"
    OFFSET_METADATA_TOO_LARGE = 12, FINAL, "the metadata of the committed offset is too long"
    NETWORK_EXCEPTION = 13, RETRIABLE, "the connection ended before the response"
    COORDINATOR_LOAD_IN_PROGRESS = 14, RETRIABLE, "the coordinator is still reading its log"
    COORDINATOR_NOT_AVAILABLE = 15, RETRIABLE, "there is no coordinator at the moment"
    NOT_COORDINATOR = 16, RETRIABLE, "another broker is the coordinator"
    INVALID_TOPIC_EXCEPTION = 17, FINAL, "the topic name is illegal, or the topic is not for clients"
    RECORD_LIST_TOO_LARGE = 18, FINAL, "the batch is larger than a segment"
    NOT_ENOUGH_REPLICAS = 19, RETRIABLE, "fewer in-sync replicas than min.insync.replicas; nothing was written"
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20, RETRIABLE, "written, but to fewer replicas than min.insync.replicas"
    INVALID_REQUIRED_ACKS = 21, FINAL, "acks is none of 0, 1 and -1"
    ILLEGAL_GENERATION = 22, FINAL, "the group is at another generation"
    INCONSISTENT_GROUP_PROTOCOL = 23, FINAL, "the member shares no protocol with the group"
    INVALID_GROUP_ID = 24, FINAL, "the group id is not valid"
    UNKNOWN_MEMBER_ID = 25, FINAL, "the group has no such member"
    INVALID_SESSION_TIMEOUT = 26, FINAL, "the session timeout is outside the range the broker allows"
    REBALANCE_IN_PROGRESS = 27, FINAL, "the group is rebalancing: join again"
    INVALID_COMMIT_OFFSET_SIZE = 28, FINAL, "the committed offset does not fit into a record"
    TOPIC_AUTHORIZATION_FAILED = 29, FINAL, "not allowed on this topic"
    GROUP_AUTHORIZATION_FAILED = 30, FINAL, "not allowed on this group"
    CLUSTER_AUTHORIZATION_FAILED = 31, FINAL, "not allowed on this cluster"
    INVALID_TIMESTAMP = 32, FINAL, "the timestamp is too far from the broker's clock"
    UNSUPPORTED_SASL_MECHANISM = 33, FINAL, "the SASL mechanism is not enabled"
    ILLEGAL_SASL_STATE = 34, FINAL, "the request does not belong here in the SASL exchange"
    UNSUPPORTED_VERSION = 35, FINAL, "this version of the API is not served"
    TOPIC_ALREADY_EXISTS = 36, FINAL, "a topic of this name exists"
    INVALID_PARTITIONS = 37, FINAL, "the number of partitions is not valid"
    INVALID_REPLICATION_FACTOR = 38, FINAL, "below 1, or more replicas than brokers"
    INVALID_REPLICA_ASSIGNMENT = 39, FINAL, "the replica assignment is not valid"
    INVALID_CONFIG = 40, FINAL, "a setting is unknown or has a value it cannot have"
    NOT_CONTROLLER = 41, RETRIABLE, "this broker is not the controller"
    INVALID_REQUEST = 42, FINAL, "the request contradicts itself"
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43, FINAL, "the record format of the partition cannot do this"
    POLICY_VIOLATION = 44, FINAL, "a policy of the broker forbids this"
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45, FINAL, "the batch does not follow the producer's last one"
    DUPLICATE_SEQUENCE_NUMBER = 46, FINAL, "the batch was appended before"
    INVALID_PRODUCER_EPOCH = 47, FINAL, "the producer writes with an old epoch"
    INVALID_TXN_STATE = 48, FINAL, "the transaction is not in a state that allows this"
    INVALID_PRODUCER_ID_MAPPING = 49, FINAL, "the producer id does not belong to the transactional id"
    INVALID_TRANSACTION_TIMEOUT = 50, FINAL, "the transaction timeout is above transaction.max.timeout.ms"
    CONCURRENT_TRANSACTIONS = 51, RETRIABLE, "the transaction is still being changed by an earlier request"
    TRANSACTION_COORDINATOR_FENCED = 52, FINAL, "a newer transaction coordinator has taken over"
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53, FINAL, "not allowed on this transactional id"
    SECURITY_DISABLED = 54, FINAL, "no authorizer is configured"
    OPERATION_NOT_ATTEMPTED = 55, FINAL, "given up because another part of the request failed"
    KAFKA_STORAGE_ERROR = 56, RETRIABLE, "the disk failed, or the partition's log is damaged there"
    LOG_DIR_NOT_FOUND = 57, FINAL, "there is no such log directory"
    SASL_AUTHENTICATION_FAILED = 58, FINAL, "the credentials were refused"
    UNKNOWN_PRODUCER_ID = 59, FINAL, "the broker no longer knows the producer"
    REASSIGNMENT_IN_PROGRESS = 60, FINAL, "a reassignment is running"
    DELEGATION_TOKEN_AUTH_DISABLED = 61, FINAL, "delegation tokens are not enabled"
    DELEGATION_TOKEN_NOT_FOUND = 62, FINAL, "there is no such delegation token"
    DELEGATION_TOKEN_OWNER_MISMATCH = 63, FINAL, "the token belongs to somebody else"
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64, FINAL, "tokens may not be asked for over this connection"
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65, FINAL, "not allowed on this delegation token"
    DELEGATION_TOKEN_EXPIRED = 66, FINAL, "the delegation token has expired"
    INVALID_PRINCIPAL_TYPE = 67, FINAL, "this type of principal is not supported"
    NON_EMPTY_GROUP = 68, FINAL, "the group still has members"
    GROUP_ID_NOT_FOUND = 69, FINAL, "there is no such group"
    FETCH_SESSION_ID_NOT_FOUND = 70, RETRIABLE, "the broker no longer knows the fetch session"
    INVALID_FETCH_SESSION_EPOCH = 71, RETRIABLE, "the fetch session is at another epoch"
    LISTENER_NOT_FOUND = 72, RETRIABLE, "the leader has no such listener"
    TOPIC_DELETION_DISABLED = 73, FINAL, "delete.topic.enable is false"
    FENCED_LEADER_EPOCH = 74, RETRIABLE, "the leader epoch of the request is old"
    UNKNOWN_LEADER_EPOCH = 75, RETRIABLE, "the leader epoch of the request is ahead of the broker"
    UNSUPPORTED_COMPRESSION_TYPE = 76, FINAL, "the codec cannot be used here"
    STALE_BROKER_EPOCH = 77, FINAL, "the broker has registered again since"
    OFFSET_NOT_AVAILABLE = 78, RETRIABLE, "a new leader does not know its high watermark yet"
    MEMBER_ID_REQUIRED = 79, FINAL, "join again with the member id of this response"
    PREFERRED_LEADER_NOT_AVAILABLE = 80, RETRIABLE, "the preferred leader is not available"
    GROUP_MAX_SIZE_REACHED = 81, FINAL, "the group is full"
    FENCED_INSTANCE_ID = 82, FINAL, "another member has taken over this group.instance.id"
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, RETRIABLE, "no eligible leader is available"
    ELECTION_NOT_NEEDED = 84, RETRIABLE, "the partition needs no election"
    NO_REASSIGNMENT_IN_PROGRESS = 85, FINAL, "no reassignment is running"
    GROUP_SUBSCRIBED_TO_TOPIC = 86, FINAL, "the group still subscribes to the topic"
    INVALID_RECORD = 87, FINAL, "a record breaks a rule of its topic"
    UNSTABLE_OFFSET_COMMIT = 88, RETRIABLE, "a transaction that committed offsets is still open"
    THROTTLING_QUOTA_EXCEEDED = 89, RETRIABLE, "a quota is used up"
    PRODUCER_FENCED = 90, FINAL, "a newer producer uses the same transactional id"
    RESOURCE_NOT_FOUND = 91, FINAL, "the request names something that does not exist"
    DUPLICATE_RESOURCE = 92, FINAL, "the request names the same thing twice"
    UNACCEPTABLE_CREDENTIAL = 93, FINAL, "the credential does not meet the rules"
    INCONSISTENT_VOTER_SET = 94, FINAL, "one side is not an expected voter"
    INVALID_UPDATE_VERSION = 95, FINAL, "the version of the update is not valid"
    FEATURE_UPDATE_FAILED = 96, FINAL, "the features could not be updated"
    PRINCIPAL_DESERIALIZATION_FAILURE = 97, FINAL, "a forwarded principal could not be read"
    SNAPSHOT_NOT_FOUND = 98, FINAL, "there is no such snapshot"
    POSITION_OUT_OF_RANGE = 99, FINAL, "the position lies outside the snapshot"
    UNKNOWN_TOPIC_ID = 100, RETRIABLE, "this broker has no topic of that id"
    DUPLICATE_BROKER_REGISTRATION = 101, FINAL, "the broker id is in use"
    BROKER_ID_NOT_REGISTERED = 102, FINAL, "the broker id is not registered"
    INCONSISTENT_TOPIC_ID = 103, RETRIABLE, "the log has another topic id than the request"
    INCONSISTENT_CLUSTER_ID = 104, FINAL, "the request is meant for another cluster"
    TRANSACTIONAL_ID_NOT_FOUND = 105, FINAL, "there is no such transactional id"
    FETCH_SESSION_TOPIC_ID_ERROR = 106, RETRIABLE, "the fetch session mixes topic names and ids"
    INELIGIBLE_REPLICA = 107, FINAL, "a replica may not join the in-sync set"
    NEW_LEADER_ELECTED = 108, FINAL, "the partition changed and has a new leader"
    OFFSET_MOVED_TO_TIERED_STORAGE = 109, FINAL, "the offset now lives in tiered storage"
    FENCED_MEMBER_EPOCH = 110, FINAL, "the coordinator fenced the member: join again"
    UNRELEASED_INSTANCE_ID = 111, FINAL, "the instance id still belongs to another member"
    UNSUPPORTED_ASSIGNOR = 112, FINAL, "the group does not support the assignor"
    STALE_MEMBER_EPOCH = 113, FINAL, "the member must learn its new epoch first"
    MISMATCHED_ENDPOINT_TYPE = 114, FINAL, "the request reached the wrong kind of endpoint"
    UNSUPPORTED_ENDPOINT_TYPE = 115, FINAL, "this kind of endpoint is not supported"
    UNKNOWN_CONTROLLER_ID = 116, FINAL, "there is no such controller"
    UNKNOWN_SUBSCRIPTION_ID = 117, FINAL, "the telemetry subscription is out of date"
    TELEMETRY_TOO_LARGE = 118, FINAL, "the telemetry is larger than the broker takes"
    INVALID_REGISTRATION = 119, FINAL, "the controller refuses the registration"
    TRANSACTION_ABORTABLE = 120, FINAL, "the transaction failed but may be aborted and begun again"
    INVALID_RECORD_STATE = 121, FINAL, "the record cannot be acknowledged in its state"
    SHARE_SESSION_NOT_FOUND = 122, RETRIABLE, "the broker no longer knows the share session"
    INVALID_SHARE_SESSION_EPOCH = 123, RETRIABLE, "the share session is at another epoch"
    FENCED_STATE_EPOCH = 124, FINAL, "the state epoch of the share group is old"
    INVALID_VOTER_KEY = 125, FINAL, "the voter key is not the receiver's"
    DUPLICATE_VOTER = 126, FINAL, "the voter is in the set already"
    VOTER_NOT_FOUND = 127, FINAL, "the voter is not in the set"
    INVALID_REGULAR_EXPRESSION = 128, FINAL, "the regular expression is not valid"
    REBOOTSTRAP_REQUIRED = 129, FINAL, "the client's metadata is too old: bootstrap again"
    STREAMS_INVALID_TOPOLOGY = 130, FINAL, "the topology is not valid"
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131, FINAL, "the epoch of the topology is not valid"
    STREAMS_TOPOLOGY_FENCED = 132, FINAL, "the epoch of the topology is old"
    SHARE_SESSION_LIMIT_REACHED = 133, RETRIABLE, "the broker holds as many share sessions as it may"


MAX_MESSAGE_CHARACTERS: Final = 1000
"""A message quotes what a peer has said, which may be as long as a string can be, or longer once quoted."""


class KafkaError(Exception):
    """An error with a code of Kafka's, to be answered in a response or read from one.

    ``message`` may go to the other side, so it names nothing secret, and is cut where it is too long. ``record_errors``
    names the single records of a batch that are at fault, each by its index in the batch and a message (Produce v8,
    KIP-467).
    """

    code: ClassVar[ErrorCode] = ErrorCode.UNKNOWN_SERVER_ERROR

    def __init__(self, message: str = "", record_errors: Sequence[tuple[int, str]] = ()) -> None:
        self.message = message[:MAX_MESSAGE_CHARACTERS]
        super().__init__(self.message)
        self.record_errors = record_errors

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message or self.code.meaning}"


def _exception_of(code: ErrorCode) -> type[KafkaError]:
    """Make the exception of one code, named as Kafka names the code, in camel case."""
    name = code.name.title().replace("_", "")
    return type(name, (KafkaError,), {"code": code, "__doc__": f"{code.meaning}.", "__module__": __name__})


_BY_CODE: Final[dict[int, type[KafkaError]]] = {
    code: _exception_of(code) for code in ErrorCode if code is not ErrorCode.NONE
}
globals().update({error.__name__: error for error in _BY_CODE.values()})  # each to be imported by its name

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[KafkaError]:
        """Tell the type checker what those names are."""


def error_for(code: int, message: str = "") -> KafkaError:
    """Return the exception for the code of a response; codes of a later Kafka become ``UnknownServerError``."""
    if code not in _BY_CODE:
        message = message or f"error code {code}, which this version does not know"
    return _BY_CODE.get(code, _BY_CODE[ErrorCode.UNKNOWN_SERVER_ERROR])(message)
