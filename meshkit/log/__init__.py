"""The log kernel: commands in, events out, durable, in one order, each exactly once.

Every service that changes anything does it here. A service brings a `Model` (what to load, how to decide, what to
save); the kernel brings everything else: group commit, one writer at a time, time, revisions, hash chain, idempotency,
saga fences, retries. Guarantees, with the tests that hold them: `docs/log-kernel.md`.

Invariants:
    L1  Revisions are contiguous from 1, and revision order is commit order.
    L2  `record_time` never falls as the revision rises.
    L3  The hash of a revision is SHA-256(hash before ‖ payloads in order of index); the head holds the last one.
    L4  A (client_id, request_id) that had an effect has it once, and its repeat has the same reply.
    L5  `balances` of an event = `balances` of the key's event before it (or zeros) + `deltas`.
    L6  A saga's command is refused once a higher fence of that saga was seen.

Map: `model` the types, `batch` the pure core, `store` its SQL, `writer` the shell with queue and retries,
`fingerprint` what makes two requests the same, `identity` which log it is, `reader` reads events back, `verify` checks
them, `ddl` the tables, `retention` what is deleted.
"""
