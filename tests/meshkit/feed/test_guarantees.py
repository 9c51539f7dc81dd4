"""Random schedules against one validator for each guarantee, and planted bugs against the validators."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from beautymesh.inventory.v1.watch_pb2 import WatchStockResponse
from meshkit.log.model import EventRow
from tests.meshkit.feed.client import Client, whole_log
from tests.meshkit.feed.guarantees import VALIDATORS, violations
from tests.meshkit.feed.tally import Keys, Process, process
from tests.sizes import FULL, SIZES, seeded

SCHEDULES, COMMANDS = (10, 600) if SIZES is FULL else (2, 300)
KEYS = [f"k{number:02}" for number in range(30)]
CLIENTS = {
    "everything": (Client(), 0),
    "from now": (Client(with_snapshot=False), 0),
    "filtered": (Client(Keys(frozenset(KEYS[:5]))), 0),
    "rarely changed": (Client(Keys(frozenset({"seldom"}))), 0),
    "slow": (Client(), 40),
    "slow, filtered": (Client(Keys(frozenset(KEYS[5:15]))), 40),
    "slow, every revision": (Client(every_revision=True), 20),
    "slow, from now": (Client(with_snapshot=False), 80),
}
"""Each with the commands that it lets pass, at most, between two messages: not seconds, so that it is as slow beside a
busy machine's writers as beside a quick one's. The window has some 25."""


@dataclass
class Progress:
    """How far the writers are."""

    commands: int = 0
    over: bool = False
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def move(self, commands: int, *, over: bool = False) -> None:
        """So many commands more are done."""
        async with self.moved:
            self.commands += commands
            self.over = over
            self.moved.notify_all()

    async def wait(self, commands: int) -> None:
        """Until so many more are done, or all."""
        until = self.commands + commands
        async with self.moved:
            await self.moved.wait_for(lambda: self.over or self.commands >= until)


async def write_at_random(processes: Sequence[Process], rng: random.Random, commands: int, progress: Progress) -> int:
    """Commands by all processes at the same time; returns the last revision."""

    async def write(writing: Process, rng: random.Random) -> None:
        for number in range(commands // len(processes)):
            lines = tuple((rng.choice(KEYS), rng.randint(-3, 9)) for _ in range(rng.randint(1, 4)))
            distinct = tuple(dict(lines).items())
            if number % 50 == 7:
                distinct = (*distinct, ("seldom", 1))
            burst = [writing.change(*distinct) for _ in range(rng.choice((1, 1, 1, 12)))]
            if rng.random() < 0.1:
                burst.append(writing.change())  # a note, which nobody sees
            await asyncio.gather(*burst)
            await progress.move(len(burst))
            await asyncio.sleep(rng.choice((0, 0, 0.003, 0.01)))

    await asyncio.gather(*(write(each, random.Random(rng.random())) for each in processes))
    await progress.move(0, over=True)
    return max([await each.change(("seldom", 1), (KEYS[0], 1), (KEYS[5], 1)) for each in processes])


async def live(client: Client, lag: int, processes: Sequence[Process], rng: random.Random, progress: Progress) -> None:
    """Follows now one process and now another, for some messages each."""

    async def pause() -> None:
        await progress.wait(rng.randrange(lag + 1))
        await asyncio.sleep(0)

    while True:
        wanted = len(client.messages) + rng.choice((1, 3, 10, 40))
        await client.follow(
            rng.choice(processes),
            stop=lambda client, wanted=wanted: len(client.messages) >= wanted,  # type: ignore[misc]  # bound for ruff
            pause=pause,
        )


@pytest.mark.parametrize("repetition", range(SCHEDULES))
async def test_every_stream_keeps_every_guarantee_whatever_the_schedule(tally_url: str, repetition: int) -> None:
    rng = seeded(f"feed schedule {repetition}")
    async with process(tally_url) as one, process(tally_url) as other:
        processes = (one, other)
        for key in KEYS[:20]:
            await one.change((key, 5))
        clients = [
            (Client(each.selection, each.with_snapshot, each.every_revision), lag) for each, lag in CLIENTS.values()
        ]
        progress = Progress()
        lives = [
            asyncio.create_task(live(client, lag, processes, random.Random(rng.random()), progress))
            for client, lag in clients
        ]
        last = await write_at_random(processes, rng, COMMANDS, progress)
        for task in lives:
            task.cancel()
        ended = await asyncio.gather(*lives, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError] * len(lives), ended
        await asyncio.gather(*(client.follow_to(rng.choice(processes), last) for client, _ in clients))
        log = await whole_log(one)

    found = {name: violations(client.trace(log)) for name, (client, _) in zip(CLIENTS, clients, strict=True)}
    assert found == {name: {} for name in CLIENTS}
    # The schedule is worth something only if it drove streams through all their states.
    conflated = [message for client, _ in clients for message in client.messages if message.deltas.conflated]
    assert len(conflated) > 5
    assert sum(client.bodies().count("progress") for client, _ in clients) > 5


async def written(tally_url: str) -> tuple[Client, list[EventRow]]:
    """A fault-free stream with several revisions a key, several keys a revision, and a snapshot in the middle of it."""
    bounds_client = Client()
    async with process(tally_url) as one:
        for number in range(10):
            await one.change((f"k{number}", 1), ("all", 1))
        await bounds_client.follow(one, stop=lambda client: len(client.messages) == 2)
        for number in range(10):
            revision = await one.change((f"k{number}", 2), ("all", 1))
            if number > 3:
                await bounds_client.follow_to(one, revision)
        return bounds_client, await whole_log(one)


def _deltas(messages: list[WatchStockResponse]) -> list[int]:
    return [number for number, message in enumerate(messages) if message.WhichOneof("body") == "deltas"]


def swap_two_messages(messages: list[WatchStockResponse]) -> None:
    """As a stream in order of a sequence, or of arrival, would: a later commit overtakes an earlier one."""
    first, second = _deltas(messages)[-2:]
    messages[first], messages[second] = messages[second], messages[first]


def order_within_a_message_by_key(messages: list[WatchStockResponse]) -> None:
    message = messages[_deltas(messages)[0]]
    deltas = sorted(message.deltas.deltas, key=lambda delta: (delta.sellable.sku, -delta.revision))
    message.deltas.ClearField("deltas")
    message.deltas.deltas.extend(deltas)


def repeat_a_message(messages: list[WatchStockResponse]) -> None:
    number = _deltas(messages)[-2]
    messages.insert(number, messages[number])


def drop_a_chunk(messages: list[WatchStockResponse]) -> None:
    del messages[_deltas(messages)[-2]]


def drop_a_chunk_and_hide_it(messages: list[WatchStockResponse]) -> None:
    """The ranges are contiguous, the deltas are missing."""
    message = messages[_deltas(messages)[-2]]
    message.progress.SetInParent()


def drop_one_delta(messages: list[WatchStockResponse]) -> None:
    del messages[_deltas(messages)[-2]].deltas.deltas[0]


def split_a_revision(messages: list[WatchStockResponse]) -> None:
    number = _deltas(messages)[-2]
    second = WatchStockResponse()
    second.CopyFrom(messages[number])
    del messages[number].deltas.deltas[1:]
    del second.deltas.deltas[0]
    second.position.covers_from = second.position.covers_to
    messages.insert(number + 1, second)


def give_the_token_of_an_earlier_message(messages: list[WatchStockResponse]) -> None:
    first, second = _deltas(messages)[-2:]
    messages[second].position.resume_token = messages[first].position.resume_token


def read_a_row_before_its_time(messages: list[WatchStockResponse]) -> None:
    """A snapshot whose head and rows come from two statements."""
    row = messages[0].snapshot.sellable[0]
    row.revision, row.sellable = row.revision + 100, row.sellable + 1


def begin_the_deltas_after_the_last_page(messages: list[WatchStockResponse]) -> None:
    """What happened while the pages were read is lost."""
    message = messages[_deltas(messages)[0]]
    del message.deltas.deltas[:]


def tell_a_wrong_before(messages: list[WatchStockResponse]) -> None:
    messages[_deltas(messages)[-1]].deltas.deltas[0].sellable.before += 1


def tell_a_wrong_after(messages: list[WatchStockResponse]) -> None:
    messages[_deltas(messages)[-1]].deltas.deltas[0].sellable.after += 1


@pytest.mark.parametrize(
    ("plant", "complaints"),
    [
        (swap_two_messages, {"ordered", "bookmarkable", "truthful", "consistent"}),
        (order_within_a_message_by_key, {"ordered", "truthful"}),
        (repeat_a_message, {"unique", "atomic", "bookmarkable", "truthful"}),
        (drop_a_chunk, {"bookmarkable", "consistent", "truthful"}),
        (drop_a_chunk_and_hide_it, {"reliable", "consistent", "truthful"}),
        (drop_one_delta, {"reliable", "consistent"}),
        (split_a_revision, {"reliable", "atomic", "consistent"}),
        (give_the_token_of_an_earlier_message, {"resumable"}),
        (read_a_row_before_its_time, {"consistent"}),
        (begin_the_deltas_after_the_last_page, {"reliable", "consistent"}),
        (tell_a_wrong_before, {"truthful"}),
        (tell_a_wrong_after, {"consistent", "truthful"}),
    ],
)
async def test_a_planted_bug_is_found(
    tally_url: str, plant: Callable[[list[WatchStockResponse]], None], complaints: set[str]
) -> None:
    client, log = await written(tally_url)
    assert violations(client.trace(log)) == {}
    plant(client.messages)
    assert set(violations(client.trace(log))) == complaints


def test_every_validator_has_a_planted_bug_that_it_finds() -> None:
    parameters = test_a_planted_bug_is_found.pytestmark[0].args[1]  # type: ignore[attr-defined]  # put there by the mark
    found = set().union(*(complaints for _, complaints in parameters))
    assert found == {validator.__name__ for validator in VALIDATORS}
