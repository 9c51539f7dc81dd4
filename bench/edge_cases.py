"""The edge's cases: cached reads against a bare HTTP server, what REST adds to an RPC, checkouts, event streams."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import Any, Final

from bench import wrk
from bench.calls import LOCATION, sku
from bench.hello import BODY as HELLO_BODY
from bench.jobs import LoadProcess
from bench.rest import Connection, answer_of, availability_path, request
from bench.result import Result, Windows, ratio
from bench.sizes import Sizes
from bench.stack import Mesh
from bench.usage import Meter

SKUS: Final = 1_000
SEED: Final = 20_240_229


class EdgeCases:
    """The cases, one method each."""

    def __init__(self, mesh: Mesh, sizes: Sizes, load: LoadProcess, followers: LoadProcess) -> None:
        self._mesh = mesh
        self._sizes = sizes
        self._load = load
        self._followers = followers
        self._pids = {**mesh.pids, "client": load.pid, "followers": followers.pid}

    @property
    def all(self) -> Sequence[Callable[[], Awaitable[Sequence[Result]]]]:
        """In the order in which they run: reads first, because their bodies must be as long as they were made."""
        return self.cached_reads, self.json, self.get_overhead, self.reserve_overhead, self.checkouts, self.fan_out

    async def prepare(self) -> None:
        """Stock, prices, an offer, shoppers."""
        mesh = self._mesh
        await self._load.do("prepare", address=mesh.inventory, token=mesh.token, skus=SKUS)
        await self._load.do("shop", url=mesh.edge, token=mesh.token, skus=SKUS)

    async def cached_reads(self) -> Sequence[Result]:
        """Availability from the edge's memory, whole and as 304, and a constant as long from the same server."""
        sizes, etags = self._sizes, await self._fill_cache()
        plain, hello, unchanged = Windows([], {}), Windows([], {}), Windows([], {})
        before = await self._cache_reads()
        for number in range(sizes.rounds + 1):
            windows = [
                await self._reads(self._mesh.edge),
                await self._reads(self._mesh.hello),
                await self._reads(self._mesh.edge, etags),
            ]
            if number:  # the first round warms all up
                plain, hello, unchanged = (a + b for a, b in zip((plain, hello, unchanged), windows, strict=True))
        hits, misses = (new - old for new, old in zip(await self._cache_reads(), before, strict=True))
        assert not misses, f"{misses:,.0f} of {hits:,.0f} reads were not in memory"
        by = "wrk" if wrk.is_here() else "a client of ours"
        per_second = median(plain.per_second)
        detail = (
            f"{plain.range()}, p99 {median(plain.p99_ms):.1f} ms of {sizes.http_connections} connections by {by};"
            f" {len(HELLO_BODY)} bytes, token checked, all from memory"
        )
        bare_p99 = f"; p99 {median(plain.p99_ms):.1f} ms against {median(hello.p99_ms):.1f} ms"
        case = "availability over REST, cached, one process"
        return [
            Result(case, per_second, "req/s", "≥ 10,000", per_second >= 10_000, detail, plain.cpu),
            ratio("availability over REST / bare ASGI app", plain, hello, "bare", aim=0.5, more=bare_p99),
            ratio("the same, not modified (304) / bare ASGI app", unchanged, hello, "bare", aim=0.5),
        ]

    async def json(self) -> Sequence[Result]:
        """The codec alone."""
        took = await self._load.do("codec", seconds=2 * self._sizes.window_seconds)
        ours, theirs = (
            took["decode_us"] + took["encode_us"],
            took["json_format_decode_us"] + took["json_format_encode_us"],
        )
        detail = (
            f"a reservation of 3 lines in: {took['decode_us']} µs against {took['json_format_decode_us']};"
            f" a checkout of 3 lines out: {took['encode_us']} µs against {took['json_format_encode_us']}"
        )
        return [Result("json_format's time / our codec's", theirs / ours, "×", detail=detail)]

    async def get_overhead(self) -> Sequence[Result]:
        """`GetReservation`, which only reads."""
        mesh = self._mesh
        body = {"requestId": "bench-get", "lines": [{"sku": sku(0), "location": LOCATION, "quantity": "1"}]}
        made = await answer_of(mesh.edge, request("POST", mesh.edge, "/v1/reservations", token=mesh.token, body=body))
        return await self._overhead("GetReservation", "get", reservation_id=made["reservationId"])

    async def reserve_overhead(self) -> Sequence[Result]:
        """`ReserveStock`, which commits."""
        return await self._overhead("ReserveStock", "reserve")

    async def checkouts(self) -> Sequence[Result]:
        """Carts of two lines with a promotion and a profile: arriving at two rates, and as many as can be."""
        sizes = self._sizes
        calm, aimed = sizes.checkouts_per_second
        await self._checkouts("arrivals", per_second=calm, seconds=1.0)  # warms up
        results = []
        for rate in (calm, aimed):
            found, cpu = await self._checkouts("arrivals", per_second=rate)
            for step in ("create", "confirm"):
                p50, p99, done = (found[step][name] for name in ("p50_ms", "p99_ms", "done"))
                detail = (
                    f"p99 {p99} ms; {done} of {found['arrived']} arrivals, to be created and confirmed{_faults(found)}"
                )
                assert p50 is not None, f"not one checkout went well at {rate}/s{_faults(found)}"
                aim, reached = ("≤ 25", p50 <= 25) if rate == aimed else (f"≤ 25 at {aimed}/s", None)
                results.append(Result(f"checkout at {rate}/s, {step}, p50", p50, "ms", aim, reached, detail, cpu))
        results.append(kept_up(aimed, found, cpu))
        for confirms in (False, True):
            found, cpu = await self._checkouts("crowd", shoppers=sizes.shoppers, confirms=confirms)
            step = "confirm" if confirms else "create"
            case = "created and confirmed" if confirms else "created alone"
            case = f"checkouts/s of {sizes.shoppers} shoppers, {case}"
            detail = f"closed loop: who is answered comes back at once; {_times(found)}{_faults(found)}"
            results.append(Result(case, found[step]["per_second"], "/s", detail=detail, cpu_percent=cpu))
        return results

    async def fan_out(self) -> Sequence[Result]:
        """How old a change is when each of many event streams has it, and that each has all of them."""
        mesh, sizes = self._mesh, self._sizes
        await self._followers.tell(
            job="fanout", url=mesh.edge, address=mesh.inventory, token=mesh.token, streams=sizes.event_streams
        )
        await self._followers.hear()  # all streams are open
        meter = Meter(self._pids)
        sent = await self._load.do(
            "steady",
            address=mesh.inventory,
            token=mesh.token,
            skus=SKUS,
            per_second=sizes.fanout_commands_per_second,
            seconds=sizes.fanout_seconds,
        )
        usage = meter.percent()
        await self._followers.tell(revision=sent["revision"])
        seen = await self._followers.hear()
        commands = round(sizes.fanout_commands_per_second * sizes.fanout_seconds)
        seconds = commands / sent["per_second"]
        expected = commands * sizes.event_streams
        lost = lost_of(seen, expected)
        detail = (
            f"p50 {seen['p50_ms']} ms; {sizes.event_streams} streams, {commands} commands in {seconds:.1f} s;"
            f" {seen['deltas'] / seconds:,.0f} deltas/s in {seen['events'] / seconds:,.0f} events/s,"
            f" {seen['deltas']:,} of {expected:,} deltas came, {lost or 'none lost'},"
            f" {seen['conflated']} events conflated"
        )
        straight = seen["straight"]
        against = (
            f"p50 {seen['p50_ms']} against {straight['p50_ms']} ms, p99 {seen['p99_ms']} against {straight['p99_ms']}"
        )
        case = "commit (its record time) → event stream, p99"
        return [
            Result(case, seen["p99_ms"], "ms", "none lost", not lost, detail, usage),
            Result(
                "event streams / one gRPC subscriber, p50", seen["p50_ms"] / straight["p50_ms"], "×", detail=against
            ),
        ]

    async def _fill_cache(self) -> list[str]:
        """Reads everything, and gives the entity tags; makes sure of what wrk does not look at."""
        mesh, etags = self._mesh, []
        connection = await Connection.connect(mesh.edge)
        for number in range(SKUS):
            path = availability_path(number)
            status, body = await connection.ask(request("GET", mesh.edge, path, token=mesh.token))
            assert status == 200, body.decode()
            assert len(body) == len(HELLO_BODY), f"{body.decode()} is not as long as {HELLO_BODY.decode()}"
            etags.append(connection.header("etag"))
            known = {"if-none-match": etags[-1]}
            status, _ = await connection.ask(request("GET", mesh.edge, path, token=mesh.token, headers=known))
            assert status == 304, f"{path} was answered {status} to its own entity tag"
        status, _ = await connection.ask(request("GET", mesh.edge, availability_path(0), token=mesh.token[:-8]))
        assert status == 401, f"a token with a broken signature was answered {status}"
        connection.close()
        return etags

    async def _cache_reads(self) -> tuple[float, float]:
        """Hits and misses so far."""
        values = await self._edge_metrics()
        name = "availability_cache_reads_total"
        return values.get(f'{name}{{outcome="hit"}}', 0.0), values.get(f'{name}{{outcome="miss"}}', 0.0)

    async def _edge_metrics(self) -> Mapping[str, float]:
        url = f"{self._mesh.edge_admin}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())  # noqa: S310  # our own process
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    async def _reads(self, url: str, etags: Sequence[str] = ()) -> Windows:
        sizes, token = self._sizes, self._mesh.token
        meter = Meter(self._pids)
        if wrk.is_here():
            each = [{"if-none-match": etag} for etag in etags] or [{}] * SKUS
            paths = [
                (availability_path(number), {"authorization": f"Bearer {token}", **headers})
                for number, headers in enumerate(each)
            ]
            answer = await wrk.rate(url, paths, connections=sizes.http_connections, seconds=sizes.read_seconds)
        else:
            answer = await self._load.do(
                "rest", what="read", url=url, token=token, skus=SKUS, etags=list(etags), status=304 if etags else 200,
                clients=sizes.http_connections, warm_seconds=0.0, seconds=sizes.read_seconds,
            )  # fmt: skip
        return Windows([answer["per_second"]], meter.percent(), [answer["p99_ms"]])

    async def _overhead(self, name: str, what: str, **more: str) -> Sequence[Result]:
        """One RPC through the edge and straight, by many callers and by one alone."""
        sizes, mesh = self._sizes, self._mesh
        rest, straight = Windows([], {}), Windows([], {})
        alone: dict[str, list[float]] = {"rest": [], "rate": []}
        for _ in range(sizes.rounds // 2 + 1):
            for clients in (sizes.overhead_clients, 1):
                for job in ("rest", "rate"):
                    meter = Meter(self._pids)
                    answer: dict[str, Any] = await self._load.do(
                        job, what=what, url=mesh.edge, address=mesh.inventory, token=mesh.token, skus=SKUS,
                        clients=clients, warm_seconds=sizes.overhead_seconds / 3, seconds=sizes.overhead_seconds,
                        **more,
                    )  # fmt: skip
                    window = Windows([answer["per_second"]], meter.percent())
                    if clients == 1:
                        alone[job].append(answer["p50_ms"])
                    elif job == "rest":
                        rest += window
                    else:
                        straight += window
        ours, theirs = median(alone["rest"]), median(alone["rate"])
        detail = f"{ours:.2f} ms against {theirs:.2f} ms; one caller"
        return [
            ratio(f"{name} by REST / by gRPC, {sizes.overhead_clients} callers", rest, straight, "by gRPC"),
            Result(f"{name}: p50 by REST / by gRPC", ours / theirs, "×", detail=detail),
        ]

    async def _checkouts(
        self, job: str, *, confirms: bool = True, seconds: float = 0.0, **more: int
    ) -> tuple[dict[str, Any], dict[str, int]]:
        meter = Meter(self._pids)
        found: dict[str, Any] = await self._load.do(
            job, url=self._mesh.edge, token=self._mesh.token, skus=SKUS,
            seconds=seconds or self._sizes.checkout_seconds, confirms=confirms, seed=SEED, **more,
        )  # fmt: skip
        return found, meter.percent()


def kept_up(rate: int, found: Mapping[str, Any], cpu: dict[str, int]) -> Result:
    """Whether the mesh did what arrived at the aimed rate: all of it, and without a queue at the end."""
    arrived, in_time = found["arrived"], found["in_time"]
    detail = (
        f"open loop: {in_time} of {arrived} arrivals created and confirmed when the window was over,"
        f" {found['confirm']['done'] - in_time} late; {_times(found)}{_faults(found)}"
    )
    case = f"checkouts/s arriving at {rate}/s, created and confirmed"
    return Result(case, rate * in_time / arrived, "/s", f"≥ {rate}", in_time == arrived, detail, cpu)


def lost_of(seen: Mapping[str, Any], expected: int) -> str:
    """What event streams have lost; empty where each was told everything. Conflation folds, and loses nothing."""
    if not (seen["gaps"] or seen["behind"]) and (seen["conflated"] or seen["deltas"] == expected):
        return ""
    return f"LOST: {seen['gaps']} gaps, {seen['behind']} streams not told of the last revision"


def _times(found: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{step} p50 {took['p50_ms']} / p99 {took['p99_ms']} ms"
        for step in ("create", "confirm")
        if (took := found[step])["done"]
    )


def _faults(found: Mapping[str, Any]) -> str:
    return "".join(f"; {count} × {name}" for name, count in found["faults"].items())
