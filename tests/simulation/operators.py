"""Clients that change a simulated broker while others use it: topics made again, settings, partitions, deletions.

They stand in for some of the others in every second simulation.
"""

from __future__ import annotations

import attrs

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from minibroker.protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from minibroker.protocol.messages.delete_groups import DeleteGroupsRequest
from minibroker.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from minibroker.protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from minibroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from minibroker.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from minibroker.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from minibroker.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
)
from minibroker.records.batch import iter_batches
from minibroker.records.builder import build_batch
from minibroker.records.compression import Codec
from minibroker.records.record import read_records
from tests.simulation.clients import Administrator, expect_storage_error, produce
from tests.simulation.history import Place
from tests.simulation.members import LOADING
from tests.simulation.network import Link, Lost
from tests.simulation.world import Client, World

TOPIC, BROKER = 2, 4
SET = 0
SYNCED = {"flush.messages": "1"}
"""Of topics that keep their promise whatever the broker's own setting is."""


def commit_request(group: str, place: Place, offset: int) -> OffsetCommitRequest:
    """A commit of somebody who is no member."""
    partition = OffsetCommitRequestPartition(partition_index=place[1], committed_offset=offset)
    return OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=[OffsetCommitRequestTopic(name=place[0], partitions=[partition])],
    )


@attrs.define(eq=False, repr=False)
class TopicReuser(Administrator):
    """Makes topics under the same two names again and again, and has the broker delete and make one in one go.

    It is the only one that does, so between two of its requests it knows which topic a name means, or that nobody knows.
    """

    names: tuple[str, ...] = ("v0", "v1")
    doubted: set[str] = attrs.field(factory=set)
    committed: dict[str, set[int]] = attrs.field(factory=dict)
    """What may be committed for a topic; the group of that name is nobody else's."""
    commits: int = 0

    async def session(self, link: Link) -> None:
        """One thing after the other."""
        rng, topics = self.world.rng, self.world.history.topics
        await link.ask(FindCoordinatorRequest(key_type=0, coordinator_keys=[self.name]), 4)
        while True:
            for name in sorted(self.doubted):
                await self._settle(link, name)
                if topics[name]:
                    await self._read_commit(link, name)
            name, action = rng.choice(self.names), rng.random()
            if action < 0.1:
                await self._delete_records(link)
            elif action < 0.2:
                await self._list(link)
            elif not topics.get(name):
                await self._make(link, name)
            elif action < 0.4:
                await self._replace(link, name)
            elif action < 0.6:
                await self._remove(link, name)
            elif action < 0.8:
                await self._read(link, name)
            else:
                await self._commit_for(link, name)
            await self.world.pause()

    def _doubt(self, name: str) -> None:
        self.doubted.add(name)
        self.world.history.doubt_topic(name)

    def _creation(self, name: str) -> CreateTopicsRequest:
        config = [CreatableTopicConfig(name=key, value=value) for key, value in SYNCED.items()]
        return CreateTopicsRequest(
            topics=[CreatableTopic(name=name, num_partitions=1, replication_factor=1, configs=config)]
        )

    async def _settle(self, link: Link, name: str) -> None:
        """Ask which topic there is; if there is none, nothing of it may come back."""
        wanted = MetadataRequest(topics=[MetadataRequestTopic(name=name)], allow_auto_topic_creation=False)
        topic = (await link.ask(wanted, 12)).topics[0]
        self.world.trace(self.name, "settle", name, topic.error_code)
        history = self.world.history
        before = history.ids.get(name)
        if topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            history.settle_topic(name, None)
        elif topic.error_code:
            expect_storage_error(self.world, self.name, topic.error_code)
            raise Lost
        else:
            history.settle_topic(name, topic.topic_id)
        if before is None or before != history.ids.get(name):
            self.committed[name] = {-1}
        self.doubted.discard(name)

    async def _make(self, link: Link, name: str) -> None:
        self._doubt(name)
        result = (await link.ask(self._creation(name), 7)).topics[0]
        self.world.trace(self.name, "make", name, result.error_code)
        if result.error_code != ErrorCode.TOPIC_ALREADY_EXISTS:
            expect_storage_error(self.world, self.name, result.error_code)
        await self._settle(link, name)
        if result.error_code == 0 and self.world.history.ids.get(name) != result.topic_id:
            self.world.complain("topic lost", f"{name} was made as {result.topic_id}")
        await self._read_commit(link, name)

    async def _remove(self, link: Link, name: str) -> None:
        self._doubt(name)
        deletion = DeleteTopicsRequest(topics=[DeleteTopicState(name=name)])
        result = (await link.ask(deletion, 6)).responses[0]
        self.world.trace(self.name, "remove", name, result.error_code)
        expect_storage_error(self.world, self.name, result.error_code)
        await self._settle(link, name)
        if result.error_code == 0 and self.world.history.topics[name]:
            self.world.complain("topic lost", f"{name} was reported as deleted, and is there")

    async def _replace(self, link: Link, name: str) -> None:
        """Delete it, and make it again before the deletion is answered."""
        self._doubt(name)
        before = self.world.history.ids[name]
        deletion = link.send(DeleteTopicsRequest(topics=[DeleteTopicState(name=name)]), 6)
        creation = link.send(self._creation(name), 7)
        deleted = (await deletion.wait()).responses[0].error_code
        created = (await creation.wait()).topics[0].error_code
        self.world.trace(self.name, "replace", name, deleted, created)
        expect_storage_error(self.world, self.name, deleted)
        if created != ErrorCode.TOPIC_ALREADY_EXISTS:
            expect_storage_error(self.world, self.name, created)
        await self._settle(link, name)
        if not deleted and self.world.history.ids.get(name) == before:
            self.world.complain("topic lost", f"{name} was reported as deleted, and is there")
        if self.world.history.ids.get(name):
            await self._read_commit(link, name)

    async def _read(self, link: Link, name: str) -> None:
        """Read the topic from its beginning."""
        place, offset, history = (name, 0), 0, self.world.history
        history.seek(self.name, place, 0)
        while True:
            partition = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1000)
            topic = FetchTopic(topic=name, partitions=[partition])
            request = FetchRequest(max_wait_ms=0, min_bytes=1, max_bytes=100_000, topics=[topic])
            data = (await link.ask(request, 12)).responses[0].partitions[0]
            expect_storage_error(self.world, self.name, data.error_code)
            before = offset
            for _, batch in iter_batches(memoryview(data.records or b"")):
                for record in read_records(batch, max_bytes=1 << 20):
                    if record.offset >= offset:
                        history.poll(self.name, place, record.offset, record.value or b"")
                        offset = record.offset + 1
            self.world.trace(self.name, "read", name, offset)
            if offset == before:
                break
        if not data.error_code and offset == data.high_watermark:
            history.reach_end(self.name, place, offset)

    async def _commit_for(self, link: Link, name: str) -> None:
        self.commits += 1
        self.committed[name] = self.committed[name] | {self.commits}
        response = await link.ask(commit_request(self.name, (name, 0), self.commits), 8)
        code = response.topics[0].partitions[0].error_code
        self.world.trace(self.name, "commit", name, code)
        if code == 0:
            self.committed[name] = {self.commits}
        elif code not in LOADING:
            expect_storage_error(self.world, self.name, code)
        await self._read_commit(link, name)

    async def _read_commit(self, link: Link, name: str) -> None:
        """What was committed for one topic is committed for none that comes after it."""
        wanted = OffsetFetchRequestTopic(name=name, partition_indexes=[0])
        request = OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=self.name, topics=[wanted])])
        group = (await link.ask(request, 8)).groups[0]
        code = group.error_code or group.topics[0].partitions[0].error_code
        if code == 0:
            offset = group.topics[0].partitions[0].committed_offset
            self.world.trace(self.name, "read commit", name, offset)
            if offset not in self.committed[name]:
                self.world.complain("invented commit", f"{name}: {offset}; possible are {sorted(self.committed[name])}")
        elif code not in LOADING:
            expect_storage_error(self.world, self.name, code)


@attrs.define(eq=False, repr=False)
class Configurer(Client):
    """Changes settings of topics and of the broker while they are in use."""

    world: World
    name: str
    choices: tuple[tuple[int, str, str, tuple[str, ...]], ...] = (
        (TOPIC, "k", "cleanup.policy", ("compact", "compact,delete", "delete")),
        (TOPIC, "k", "cleanup.policy", ("compact", "compact,delete", "delete")),
        (TOPIC, "k", "cleanup.policy", ("compact", "compact,delete", "delete")),
        (TOPIC, "k", "segment.bytes", ("1024", "3000", "1048576")),
        (TOPIC, "k", "min.cleanable.dirty.ratio", ("0", "0.5")),
        (TOPIC, "a", "segment.bytes", ("1024", "2000")),
        (TOPIC, "a", "index.interval.bytes", ("0", "200", "4096")),
        (TOPIC, "r", "retention.bytes", ("2000", "4000", "-1")),
        (TOPIC, "r", "segment.ms", ("14", "604800000")),
        (TOPIC, "s", "retention.ms", ("300", "600", "-1")),
        (TOPIC, "lazy", "flush.messages", ("1", "10", "10000")),
        (BROKER, "", "log.flush.interval.messages", ("1", "10000")),
    )

    async def session(self, link: Link) -> None:
        """One setting after the other."""
        while True:
            kind, name, key, values = self.world.rng.choice(self.choices)
            config = AlterableConfig(name=key, config_operation=SET, value=self.world.rng.choice(values))
            resource = AlterConfigsResource(resource_type=kind, resource_name=name, configs=[config])
            response = (await link.ask(IncrementalAlterConfigsRequest(resources=[resource]), 1)).responses[0]
            self.world.trace(self.name, name, key, config.value, response.error_code)
            expect_storage_error(self.world, self.name, response.error_code)
            for _ in range(4):
                await self.world.pause()


@attrs.define(eq=False, repr=False)
class Grower(Client):
    """Adds partitions to a topic, and writes into all that it was told are there."""

    world: World
    name: str
    topic: str
    most: int = 5
    wanted: int = 1

    async def session(self, link: Link) -> None:
        """A record at a time."""
        rng, history = self.world.rng, self.world.history
        while True:
            count = history.partitions[self.topic]
            if self.wanted > count or (count < self.most and rng.random() < 0.1):
                self.wanted = count + 1
                await self._grow(link)
            place, values = (self.topic, rng.randrange(count)), [self.world.new_value()]
            history.send(place, 0, values)
            batch = build_batch([(self.world.now_ms(), None, values[0], ())])
            data = (await link.ask(produce(place, bytes(batch), -1), 9)).responses[0].partition_responses[0]
            self.world.trace(self.name, place, data.error_code, data.base_offset)
            if data.error_code:
                expect_storage_error(self.world, self.name, data.error_code)
            else:
                history.ack(place, data.base_offset, values)
            await self.world.pause()

    async def _grow(self, link: Link) -> None:
        topic = CreatePartitionsTopic(name=self.topic, count=self.wanted, assignments=None)
        code = (await link.ask(CreatePartitionsRequest(topics=[topic]), 3)).results[0].error_code
        self.world.trace(self.name, "grow", self.wanted, code)
        if code not in (0, ErrorCode.INVALID_PARTITIONS):  # they are there already
            expect_storage_error(self.world, self.name, code)
            raise Lost
        self.world.history.partitions[self.topic] = self.wanted


@attrs.define(eq=False, repr=False)
class KeyedProducer(Client):
    """Writes and deletes keys, with every codec; several may share the keys."""

    world: World
    name: str
    place: Place
    equal: bool = False
    """Whether all of its batches are of the same size."""

    async def session(self, link: Link) -> None:
        """One batch after the other."""
        rng = self.world.rng
        keyed = self.world.history.place(self.place).keyed
        assert keyed is not None
        for _ in range(30):
            records = [self._record() for _ in range(1 if self.equal else rng.randint(1, 3))]
            keyed.send(records)
            now_ms = self.world.now_ms()
            codec = Codec.NONE if self.equal else rng.choice(list(Codec))
            batch = build_batch(((now_ms, key, value, ()) for key, value in records), codec)
            data = (await link.ask(produce(self.place, bytes(batch), -1), 9)).responses[0].partition_responses[0]
            self.world.trace(self.name, data.error_code, data.base_offset)
            if data.error_code:
                expect_storage_error(self.world, self.name, data.error_code)
                return
            keyed.ack(data.base_offset, records)
            await self.world.pause()

    def _record(self) -> tuple[bytes, bytes | None]:
        rng = self.world.rng
        key = b"%02d" % rng.randrange(4 if rng.random() < 0.7 else 30)
        if self.equal:
            return key, self.world.new_value()[:20].ljust(60, b".")
        return key, None if rng.random() < 0.3 else self.world.new_value()


@attrs.define(eq=False, repr=False)
class OffsetKeeper(Client):
    """Commits offsets of a group of its own, deletes them, and deletes the group."""

    world: World
    name: str
    group: str
    place: Place
    commits: int = 0

    async def session(self, link: Link) -> None:
        """One thing after the other."""
        await link.ask(FindCoordinatorRequest(key_type=0, coordinator_keys=[self.group]), 4)
        offsets, rng = self.world.history.offsets, self.world.rng
        while True:
            action = rng.random()
            wanted = self.commits + 1 if action < 0.7 else -1
            before = offsets.ask(self.group, self.place, wanted)
            if wanted > 0:
                code = await self._commit(link)
            elif action < 0.85:
                request = DeleteGroupsRequest(groups_names=[self.group])
                code = (await link.ask(request, 2)).results[0].error_code
            else:
                code = await self._delete(link)
            self.world.trace(self.name, wanted, code)
            if code == 0 or (wanted < 0 and code == ErrorCode.GROUP_ID_NOT_FOUND):
                offsets.know(self.group, self.place, {wanted})
            elif code in LOADING:
                offsets.know(self.group, self.place, before)
            else:
                expect_storage_error(self.world, self.name, code)
            await self.world.pause()

    async def _commit(self, link: Link) -> int:
        self.commits += 1
        response = await link.ask(commit_request(self.group, self.place, self.commits), 8)
        code: int = response.topics[0].partitions[0].error_code
        return code

    async def _delete(self, link: Link) -> int:
        partition = OffsetDeleteRequestPartition(partition_index=self.place[1])
        topic = OffsetDeleteRequestTopic(name=self.place[0], partitions=[partition])
        response = await link.ask(OffsetDeleteRequest(group_id=self.group, topics=[topic]), 0)
        code: int = response.error_code or response.topics[0].partitions[0].error_code
        return code
