from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from meshctl.embedded.valkey import Valkey
from meshctl.server_user import ensure_server_user
from meshctl.state import open_state
from meshkit.feed.hints import ValkeyHints
from meshkit.telemetry.metrics import Metrics
from tests.embedded import Embedded, running
from tests.meshkit.feed.client import Client, whole_log
from tests.meshkit.feed.guarantees import violations
from tests.meshkit.feed.tally import SMALL, process

HINTED = replace(SMALL, poll_seconds=60.0)
"""A poll that never comes: what arrives, arrives by a hint."""


WAIT_SECONDS_MAX = 60.0


async def subscribed(url: str, log_id: str, count: int) -> None:
    """Waits until so many listen for hints of one log: subscriptions take a moment, and nobody else waits for them."""
    async with Redis.from_url(url) as client, asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            channels = await client.pubsub_channels(f"beautymesh:feed:tally:{log_id}")
            if any(listening >= count for _, listening in await client.pubsub_numsub(*channels)):
                return
            await asyncio.sleep(0.01)


def hints(url: str) -> ValkeyHints:
    return ValkeyHints(url, service="tally", metrics=Metrics())


async def test_the_other_process_is_woken_by_a_hint(tally_url: str, embedded: Embedded) -> None:
    redis_url = embedded.redis_url
    async with (
        process(tally_url, bounds=HINTED, hints=hints(redis_url)) as one,
        process(tally_url, bounds=HINTED, hints=hints(redis_url)) as other,
    ):
        client = Client(with_snapshot=False)
        following = asyncio.create_task(client.follow_to(other, 50))
        await subscribed(redis_url, "*", 2)
        for _ in range(50):
            await one.change(("a", 1))
        await following
        log = await whole_log(one)
    assert violations(client.trace(log)) == {}


async def test_hints_of_another_log_are_not_heard(make_hint_url: str) -> None:
    one, other = hints(make_hint_url), hints(make_hint_url)
    heard: list[int] = []
    async with asyncio.timeout(WAIT_SECONDS_MAX), asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(one.run("log-a", lambda _: None))
        listening = tasks.create_task(other.run("log-b", heard.append))
        await subscribed(make_hint_url, "log-a", 1)
        await subscribed(make_hint_url, "log-b", 1)
        one.send(7)
        await asyncio.sleep(0.1)
        other.send(8)
        while heard != [8]:  # noqa: ASYNC110 — the list is what the callback has heard
            await asyncio.sleep(0.01)
        sending.cancel()
        listening.cancel()


async def test_hints_that_wait_are_merged_into_the_newest(make_hint_url: str) -> None:
    one, other = hints(make_hint_url), hints(make_hint_url)
    heard: list[int] = []
    async with asyncio.timeout(WAIT_SECONDS_MAX), asyncio.TaskGroup() as tasks:
        running_tasks = [tasks.create_task(other.run("log", heard.append))]
        await subscribed(make_hint_url, "log", 1)
        for revision in range(1, 1_000):
            one.send(revision)
        running_tasks.append(tasks.create_task(one.run("log", lambda _: None)))
        while 999 not in heard:  # noqa: ASYNC110 — the list is what the callback has heard
            await asyncio.sleep(0.01)
        for task in running_tasks:
            task.cancel()
    assert heard == [999]


@pytest.fixture
def make_hint_url(embedded: Embedded) -> str:
    return embedded.redis_url


@pytest.fixture
def own_valkey() -> Iterator[tuple[Valkey, Path]]:
    """A Valkey that a test may kill: its description and the folder of its log."""
    folder = Path(tempfile.mkdtemp(prefix="beautymesh-test-"))
    try:
        with open_state(folder, ensure_server_user()) as state:
            yield Valkey(state, state.socket_folder()), folder
    finally:
        shutil.rmtree(folder)


async def test_without_valkey_all_works_by_polling_and_hints_come_back_with_it(
    tally_url: str, own_valkey: tuple[Valkey, Path]
) -> None:
    valkey, folder = own_valkey
    client = Client(with_snapshot=False)
    with ExitStack() as servers:
        server = await asyncio.to_thread(servers.enter_context, running(valkey.child(), folder / "1.log"))
        async with (
            process(tally_url, hints=hints(valkey.url)) as one,
            process(tally_url, hints=hints(valkey.url)) as other,
        ):
            following = asyncio.create_task(client.follow_to(other, 30))
            for number in range(30):
                if number == 10:
                    server.send_signal(signal.SIGKILL)
                    server.wait()
                if number == 20:
                    await asyncio.to_thread(servers.enter_context, running(valkey.child(), folder / "2.log"))
                begin = time.monotonic()
                await one.change(("a", 1))
                assert time.monotonic() - begin < 10  # no command waits for Valkey
            await following
            log = await whole_log(one)
    assert violations(client.trace(log)) == {}
