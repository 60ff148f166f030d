"""Consumer groups, their committed offsets, and producers: the coordinators' part of the broker's settings."""

from __future__ import annotations

import attrs

from minibroker.config.setting import MAX_INT, integer, long


@attrs.frozen(kw_only=True, init=False, repr=False, eq=False, slots=False)
class GroupSettings:
    """Limits and deadlines of groups, the topic of their offsets, and how long producers are remembered."""

    group_initial_rebalance_delay_ms: int = integer(
        3000,
        "How long an empty group waits for more members after the first has joined. 0 suits tests and development.",
        at_least=0,
    )
    group_min_session_timeout_ms: int = integer(
        6000, "The shortest session timeout that a member of a group may ask for.", at_least=1
    )
    group_max_session_timeout_ms: int = integer(
        1800000, "The longest session timeout that a member of a group may ask for.", at_least=1
    )
    group_max_size: int = integer(MAX_INT, "How many members a group may have.", at_least=1)
    minibroker_group_max_bytes: int = long(
        16777216,
        "About how many bytes of memory the members of one group may take, with what they say of themselves and what "
        "their leader assigns. Who would make it more is told that the group is full.",
        at_least=1024,
    )
    minibroker_groups_max_bytes: int = long(
        536870912,
        "About how many bytes of memory all groups and their committed offsets may take. Beyond it no group, member or "
        "offset is added; those that are there go on, and commits for partitions that were committed before too, unless "
        "they say much more.",
        at_least=1024,
    )
    offset_metadata_max_bytes: int = integer(
        4096, "The longest text that may be committed along with an offset.", at_least=0
    )
    offsets_retention_minutes: int = integer(
        10080, "How long the committed offsets of a group without members are kept.", at_least=1
    )
    offsets_retention_check_interval_ms: int = long(
        600000, "How often committed offsets are looked through for expired ones.", at_least=1
    )
    offsets_topic_num_partitions: int = integer(
        50, "How many partitions __consumer_offsets is created with. Never changes afterwards.", at_least=1
    )
    offsets_topic_segment_bytes: int = integer(
        104857600, "The segment size of __consumer_offsets; small, so that it is compacted soon.", at_least=1024
    )
    minibroker_producer_ids_max: int = integer(
        1000000,
        "About how many idempotent producers are remembered, each counted in every partition it has written to; in one "
        "partition at most a hundredth of them. Those that have been idle for longest are forgotten first: a batch that "
        "one of them sends again is then not recognised.",
        at_least=100,
    )
    producer_id_expiration_ms: int = integer(
        86400000,
        "An idempotent producer that has written nothing to a partition for this long is forgotten there.",
        at_least=1,
        dynamic=True,
    )
