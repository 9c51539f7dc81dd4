"""What a batch of commands does to a log: the kernel's pure core.

Inputs are the head as it was read under the lock, the time, what was remembered of the requests and sagas, and the
state that the service loaded. Outputs are answers, event rows, request rows, fences and the new head. No SQL, no
sockets, no clock of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Generic

from meshkit.core.decision import Facts
from meshkit.core.errors import InternalError, RequestIdReused, StaleFence
from meshkit.log.fingerprint import first_difference
from meshkit.log.model import (
    EVENTS_PER_REVISION_MAX,
    Answer,
    B,
    Command,
    E,
    EventRow,
    Fence,
    Head,
    Model,
    R,
    Record,
    S,
)

RequestKey = tuple[str, str]
"""(client_id, request_id)."""


@dataclass(frozen=True, slots=True)
class RequestRow:
    """What is remembered of a request that had an effect."""

    client_id: str
    request_id: str
    method: str
    fingerprint: bytes
    reply: bytes
    revision: int


class Batch(Generic[B, S, E, R]):
    """Executes commands one after the other; each sees the effects of those before it."""

    def __init__(
        self,
        model: Model[B, S, E, R],
        *,
        head: Head,
        now: datetime,
        state: S,
        requests: Mapping[RequestKey, RequestRow],
        fences: Mapping[str, int],
    ) -> None:
        """`now` must not be before the head's time. `requests`, `fences`: what the log knows of these commands."""
        assert now >= head.record_time, f"time went back from {head.record_time} to {now}"
        self._model = model
        self._requests = dict(requests)
        self._fences = dict(fences)
        self.head = head
        self.now = now
        self.state = state
        self.new_events: list[EventRow] = []
        self.new_requests: list[RequestRow] = []
        self.new_fences: dict[str, int] = {}

    @property
    def has_effects(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.new_events or self.new_fences)

    def expire(self) -> bool:
        """Executes what time has done. Before the first command, so that none sees a lapsed hold.

        False: there is more of it than one batch can take, and no command may be executed in this one.
        """
        for command in self._model.lapsed(self.state, self.now):
            self.execute(command)
        return not self._model.overdue(self.state, self.now)

    def execute(self, command: Command[B]) -> Answer:
        """Decides one command and keeps its effects.

        Raises:
            MeshError: the command is refused; nothing is kept.
        """
        if command.remembered and (repeated := self._recall(command)):
            return repeated
        if command.fence is not None:
            self._check_fence(command.fence)
        facts = Facts(now=self.now, revision=self.head.revision + 1, origin=command.origin)
        decision = self._model.decide(self.state, command.body, facts)
        records = [self._model.record(event) for event in decision.events]
        if len(records) > EVENTS_PER_REVISION_MAX:
            raise InternalError(f"{len(records)} events in one revision; at most {EVENTS_PER_REVISION_MAX}")
        reply = self._model.encode_reply(decision.reply)
        # From here on nothing may fail: what is kept is kept whole.
        if command.fence is not None:
            self._fences[command.fence.saga_id] = self.new_fences[command.fence.saga_id] = command.fence.fence
        if not records:
            return Answer(reply, self.head.revision, repeated=False)
        self._model.apply(self.state, decision, facts)
        self._append(command, records)
        if command.remembered:
            self._remember(command, reply)
        return Answer(reply, self.head.revision, repeated=False)

    def _recall(self, command: Command[B]) -> Answer | None:
        """The answer that was given before; None if there was none."""
        client_id = command.origin.client_id
        if command.group_id and (group := self._requests.get((client_id, command.group_id))):
            self._require_same(command, group)
        remembered = self._requests.get((client_id, command.request_id))
        if remembered is None:
            return None
        self._require_same(command, remembered)
        return Answer(remembered.reply, remembered.revision, repeated=True)

    def _require_same(self, command: Command[B], remembered: RequestRow) -> None:
        if remembered.method != command.method:
            differing = "method"
        else:
            number = first_difference(remembered.fingerprint, command.fingerprint)
            if number is None:
                return
            differing = command.field_names.get(number, str(number))
        message = f"request id {remembered.request_id} was used before with another {differing}"
        raise RequestIdReused(message, metadata={"request_id": remembered.request_id, "field": differing})

    def _check_fence(self, fence: Fence) -> None:
        seen = self._fences.get(fence.saga_id, 0)
        if fence.fence < seen:
            message = f"saga {fence.saga_id} has another owner: fence {fence.fence} is below {seen}"
            raise StaleFence(message, metadata={"saga_id": fence.saga_id, "fence": str(fence.fence), "seen": str(seen)})

    def _append(self, command: Command[B], records: list[Record]) -> None:
        revision = self.head.revision + 1
        digest = chain(self.head.hash, (record.payload for record in records))
        origin = command.origin
        occur_time = command.occur_time or self.now
        for index, record in enumerate(records):
            self.new_events.append(
                EventRow(
                    revision=revision,
                    index=index,
                    kind=record.kind,
                    key=record.key,
                    payload=record.payload,
                    deltas=record.deltas,
                    balances=record.balances,
                    principal=origin.principal,
                    client_id=origin.client_id,
                    channel=record.channel,
                    reference=origin.reference,
                    request_id=command.request_id,
                    traceparent=origin.traceparent,
                    occur_time=occur_time,
                    record_time=self.now,
                    hash=digest if index == 0 else None,
                )
            )
        self.head = Head(self.head.log_id, revision, self.now, digest)

    def _remember(self, command: Command[B], reply: bytes) -> None:
        client_id = command.origin.client_id
        if command.group_id and (client_id, command.group_id) not in self._requests:
            self._keep(
                RequestRow(client_id, command.group_id, command.method, command.fingerprint, b"", self.head.revision)
            )
        self._keep(
            RequestRow(client_id, command.request_id, command.method, command.fingerprint, reply, self.head.revision)
        )

    def _keep(self, row: RequestRow) -> None:
        self._requests[row.client_id, row.request_id] = row
        self.new_requests.append(row)


def chain(before: bytes, payloads: Iterable[bytes]) -> bytes:
    """The hash of a revision: SHA-256(hash of the revision before ‖ its payloads in order of index)."""
    digest = sha256(before)
    for payload in payloads:
        digest.update(payload)
    return digest.digest()
