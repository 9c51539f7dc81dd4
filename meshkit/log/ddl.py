"""The tables of a log, as every service's first migration creates them.

Codes and ids collate by byte: that is their order in Python too, and the cheapest to compare.

Frozen text: a later change is a new constant and a new migration. The tables live in the service's own schema.
"""

LOG_V1 = """
-- One row: the log's head. Locked first by every batch, so there is one writer at a time.
CREATE TABLE log_head (
    only_row boolean PRIMARY KEY DEFAULT true,
    log_id uuid NOT NULL DEFAULT gen_random_uuid(),
    revision bigint NOT NULL DEFAULT 0,
    record_time timestamptz NOT NULL DEFAULT 'epoch',
    hash bytea NOT NULL DEFAULT sha256(''),
    fingerprint_key bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
    CONSTRAINT a_log_has_one_head CHECK (only_row),
    CONSTRAINT revision_is_not_negative CHECK (revision >= 0)
) WITH (fillfactor = 10);  -- rewritten by every batch; free space on the page keeps the updates in place
INSERT INTO log_head DEFAULT VALUES;

CREATE TABLE log_event (
    revision bigint NOT NULL,
    index integer NOT NULL,
    kind text NOT NULL,
    key text COLLATE "C" NOT NULL,
    payload bytea NOT NULL,
    deltas bigint[] NOT NULL,
    balances bigint[] NOT NULL,
    principal text NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    channel text NOT NULL,
    reference text NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    traceparent text NOT NULL,
    occur_time timestamptz NOT NULL,
    record_time timestamptz NOT NULL,
    hash bytea,
    PRIMARY KEY (revision, index),
    CONSTRAINT revision_counts_from_one CHECK (revision >= 1),
    CONSTRAINT index_counts_from_zero CHECK (index >= 0),
    CONSTRAINT deltas_and_balances_match CHECK (cardinality(deltas) = cardinality(balances)),
    CONSTRAINT the_first_event_of_a_revision_carries_its_hash CHECK ((index = 0) = (hash IS NOT NULL))
);
-- As of a revision, conflation, the history of one key: the newest events of a key first.
CREATE INDEX log_event_by_key ON log_event (key, revision DESC, index DESC);

-- What was answered to a request, so that its repeat has the same answer and no second effect.
CREATE TABLE log_request (
    client_id text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    method text NOT NULL,
    fingerprint bytea NOT NULL,
    reply bytea NOT NULL,
    revision bigint NOT NULL,
    record_time timestamptz NOT NULL,
    PRIMARY KEY (client_id, request_id)
);
-- Retention: rows are written in order of time, so a block range index finds the old ones and costs nothing to keep.
CREATE INDEX log_request_by_time ON log_request USING brin (record_time);

-- The highest fence seen of each saga.
CREATE TABLE log_saga_fence (
    saga_id text COLLATE "C" PRIMARY KEY,
    fence bigint NOT NULL,
    record_time timestamptz NOT NULL,
    CONSTRAINT fence_is_positive CHECK (fence >= 1)
);
CREATE INDEX log_saga_fence_by_time ON log_saga_fence USING brin (record_time);
"""
