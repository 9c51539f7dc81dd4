"""Checkouts, the requests that moved them, and the key that hides what requests said."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
-- One row: the key of the requests' fingerprints.
CREATE TABLE edge_key (
    only_row boolean PRIMARY KEY DEFAULT true,
    fingerprint_key bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
    CONSTRAINT an_edge_has_one_key CHECK (only_row)
);
INSERT INTO edge_key DEFAULT VALUES;

CREATE TABLE checkout (
    checkout_id text COLLATE "C" PRIMARY KEY,
    client_id text COLLATE "C" NOT NULL,
    principal jsonb NOT NULL,
    state text NOT NULL,
    work text NOT NULL,
    fence bigint NOT NULL,
    lease_until timestamptz,
    request bytea NOT NULL,
    plan bytea NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    order_reference text COLLATE "C" NOT NULL,
    payment_reference text NOT NULL,
    fault text NOT NULL,
    expire_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    confirm_time timestamptz,
    update_time timestamptz NOT NULL,
    CONSTRAINT state_is_one_of_the_known CHECK (state IN
        ('opening', 'open', 'confirming', 'confirmed', 'cancelling', 'cancelled', 'expired', 'refused')),
    CONSTRAINT a_checkout_has_a_lease_while_there_is_work CHECK ((work = '') = (lease_until IS NULL)),
    CONSTRAINT fence_is_positive CHECK (fence >= 1)
) WITH (fillfactor = 70);  -- written twice at least; free space on the page keeps the updates in place
-- Takeover: work whose owner is gone, what somebody waits for first, the oldest of it.
CREATE INDEX checkout_by_lease ON checkout ((state = 'confirmed'), lease_until) WHERE lease_until IS NOT NULL;
-- Expiry: open checkouts that have lapsed.
CREATE INDEX checkout_by_expiry ON checkout (expire_time) WHERE state = 'open';
-- ListCheckouts: a client's, newest first (ids sort by time).
CREATE INDEX checkout_by_client ON checkout (client_id, checkout_id DESC);
-- ListCheckouts of one profile, or of one order.
CREATE INDEX checkout_by_profile ON checkout (client_id, profile_id, checkout_id DESC) WHERE profile_id <> '';
CREATE INDEX checkout_by_order ON checkout (client_id, order_reference, checkout_id DESC) WHERE order_reference <> '';
-- Retention: what is settled and old.
CREATE INDEX checkout_by_update ON checkout (update_time) WHERE work = '' AND state <> 'open';

-- Which checkout a request moved, so that its repeat finds the same one.
CREATE TABLE checkout_request (
    client_id text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    method text NOT NULL,
    fingerprint bytea NOT NULL,
    checkout_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (client_id, request_id)
);
CREATE INDEX checkout_request_by_checkout ON checkout_request (checkout_id);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP TABLE checkout_request, checkout, edge_key")
