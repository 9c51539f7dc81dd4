"""The log, and the projections of profiles, purchases and their lines."""

from __future__ import annotations

from alembic import op

from meshkit.log.ddl import LOG_V1

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PROJECTIONS = """
CREATE TABLE profile (
    profile_id text COLLATE "C" PRIMARY KEY,
    tags text[] COLLATE "C" NOT NULL,
    order_count bigint NOT NULL,
    create_time timestamptz NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT order_count_is_not_negative CHECK (order_count >= 0)
) WITH (fillfactor = 80);  -- every purchase rewrites its profile; free space keeps the updates in place
-- ListProfiles with a tag: the profiles that have it.
CREATE INDEX profile_by_tag ON profile USING gin (tags);

-- No foreign keys: each would lock the profile's row once a purchase. One writer decides what goes in, under the head
-- lock, and the audit compares the three tables with each other.
CREATE TABLE purchase (
    purchase_id text COLLATE "C" PRIMARY KEY,
    profile_id text COLLATE "C" NOT NULL,
    order_reference text NOT NULL,
    channel text COLLATE "C" NOT NULL,
    total_minor bigint NOT NULL,
    currency text NOT NULL,  -- of the total and of every line
    line_count integer NOT NULL,
    occur_time timestamptz NOT NULL,
    record_time timestamptz NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT currency_is_an_iso_4217_code CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT a_purchase_has_lines CHECK (line_count > 0)
);
-- ListPurchases: a profile's newest first; a revision records one purchase. The audit counts a profile's purchases.
CREATE UNIQUE INDEX purchase_by_profile ON purchase (profile_id, revision DESC);

CREATE TABLE purchase_line (
    purchase_id text COLLATE "C" NOT NULL,
    position integer NOT NULL,  -- as the caller ordered them, from 0; a SKU may stand in several lines
    sku text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL,
    total_minor bigint,  -- null where the caller did not say it
    PRIMARY KEY (purchase_id, position),
    CONSTRAINT quantity_is_positive CHECK (quantity > 0),
    CONSTRAINT positions_count_from_zero CHECK (position >= 0)
);
"""


def upgrade() -> None:
    """Creates everything."""
    op.execute(LOG_V1)
    op.execute(PROJECTIONS)
