"""The log, and the projections of SKUs, locations, levels, sellable quantities and reservations."""

from __future__ import annotations

from alembic import op

from meshkit.log.ddl import LOG_V1

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PROJECTIONS = """
CREATE TABLE sku (
    sku text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    product text NOT NULL,
    brand text NOT NULL,
    category text NOT NULL,
    attributes jsonb NOT NULL,
    revision bigint NOT NULL
);
-- ListSkus by product, by brand, by category.
CREATE INDEX sku_by_product ON sku (product, sku);
CREATE INDEX sku_by_brand ON sku (brand, sku);
CREATE INDEX sku_by_category ON sku (category, sku);

CREATE TABLE location (
    location text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    kind text NOT NULL,
    revision bigint NOT NULL
);

CREATE TABLE stock_level (
    sku text COLLATE "C" NOT NULL REFERENCES sku,
    location text COLLATE "C" NOT NULL REFERENCES location,
    lot text COLLATE "C" NOT NULL,
    on_hand bigint NOT NULL,
    unavailable bigint NOT NULL,
    reserved bigint NOT NULL,
    allocated bigint NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (sku, location, lot),
    CONSTRAINT on_hand_is_not_negative CHECK (on_hand >= 0),
    CONSTRAINT unavailable_is_not_negative CHECK (unavailable >= 0),
    CONSTRAINT reserved_is_not_negative CHECK (reserved >= 0),
    CONSTRAINT allocated_is_not_negative CHECK (allocated >= 0)
) WITH (fillfactor = 70);  -- a hot level is rewritten by every batch; free space keeps the updates in place
-- The levels of a location, for lists filtered by it.
CREATE INDEX stock_level_by_location ON stock_level (location, sku, lot);

CREATE TABLE sellable (
    sku text COLLATE "C" NOT NULL REFERENCES sku,
    channel text COLLATE "C" NOT NULL,
    units bigint NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (sku, channel),
    CONSTRAINT sellable_is_not_negative CHECK (units >= 0)
) WITH (fillfactor = 70);

CREATE TABLE reservation (
    reservation_id text COLLATE "C" PRIMARY KEY,
    client_id text COLLATE "C" NOT NULL,
    state text NOT NULL,
    channel text COLLATE "C" NOT NULL,
    order_reference text NOT NULL,
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT state_is_known CHECK (state IN ('held', 'committed', 'released', 'expired')),
    CONSTRAINT only_a_committed_reservation_has_an_order CHECK ((state = 'committed') = (order_reference <> '')),
    CONSTRAINT a_hold_lasts CHECK (expire_time > create_time)
) WITH (fillfactor = 80);
-- The sweeper: which holds lapse next.
CREATE INDEX reservation_by_expiry ON reservation (expire_time) WHERE state = 'held';
-- ListReservations: a client's own.
CREATE INDEX reservation_by_client ON reservation (client_id, reservation_id);
-- ListReservations: those of an order.
CREATE INDEX reservation_by_order ON reservation (order_reference, reservation_id) WHERE order_reference <> '';

-- No foreign keys: each would lock the hot level's row once a line. One writer decides what goes in, under the head
-- lock, and the ledger check compares lines with levels.
CREATE TABLE reservation_line (
    reservation_id text COLLATE "C" NOT NULL,
    sku text COLLATE "C" NOT NULL,
    location text COLLATE "C" NOT NULL,
    lot text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL,
    shipped bigint NOT NULL,
    held_until timestamptz,  -- the reservation's expire_time while it is held, null afterwards
    promised boolean NOT NULL,  -- whether units of this line are allocated and not shipped
    PRIMARY KEY (reservation_id, sku, location, lot),
    CONSTRAINT quantity_is_positive CHECK (quantity > 0),
    CONSTRAINT shipped_is_between_zero_and_quantity CHECK (shipped BETWEEN 0 AND quantity),
    CONSTRAINT a_held_line_has_nothing_promised CHECK (NOT (promised AND held_until IS NOT NULL))
) WITH (fillfactor = 80);
-- Every batch, and every read: the holds on these SKUs that have lapsed.
CREATE INDEX reservation_line_held ON reservation_line (sku, held_until) WHERE held_until IS NOT NULL;
-- ListReservations: those with a line of a SKU.
CREATE INDEX reservation_line_by_sku ON reservation_line (sku, reservation_id);
-- The ledger check: what is promised of a level.
CREATE INDEX reservation_line_promised ON reservation_line (sku, location, lot) WHERE promised;

-- The last line of defence against overselling, whatever the code does: no reservation leaves a level short.
ALTER TABLE log_event ADD CONSTRAINT a_reservation_never_oversells
    CHECK (kind <> 'stock_reserved' OR balances[1] - balances[2] - balances[3] - balances[4] >= 0);
"""


def upgrade() -> None:
    """Creates everything."""
    op.execute(LOG_V1)
    op.execute(PROJECTIONS)
