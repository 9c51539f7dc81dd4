"""The log, and the projections of prices, campaigns, promotions, coupons, counters and redemptions."""

from __future__ import annotations

from alembic import op

from meshkit.log.ddl import LOG_V1

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PROJECTIONS = """
CREATE TABLE price (
    sku text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,  -- empty for all channels without a price of their own
    currency text COLLATE "C" NOT NULL,
    valid_from timestamptz NOT NULL,  -- 0001-01-01 for always
    price_minor bigint NOT NULL,
    tax_included boolean NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (sku, channel, currency, valid_from),
    CONSTRAINT price_is_not_negative CHECK (price_minor >= 0)
);

CREATE TABLE campaign (
    campaign_id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz,
    create_time timestamptz NOT NULL,
    revision bigint NOT NULL
);
-- Every evaluation of a cart: has a campaign changed since it was read last?
CREATE INDEX campaign_by_revision ON campaign (revision);

CREATE TABLE promotion (
    promotion_id text COLLATE "C" PRIMARY KEY,
    campaign_id text COLLATE "C" NOT NULL REFERENCES campaign,
    name text NOT NULL,
    condition text NOT NULL,
    selector text NOT NULL,
    percent_off_basis_points integer,
    amount_off_minor bigint,
    amount_off_currency text,
    total_max bigint NOT NULL,  -- 0 for no limit
    per_profile_max bigint NOT NULL,
    needs_coupon boolean NOT NULL,
    priority integer NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT a_promotion_has_one_benefit CHECK (num_nonnulls(percent_off_basis_points, amount_off_minor) = 1),
    CONSTRAINT an_amount_has_a_currency CHECK ((amount_off_minor IS NULL) = (amount_off_currency IS NULL)),
    CONSTRAINT percent_off_is_at_most_all CHECK (percent_off_basis_points BETWEEN 1 AND 10000),
    CONSTRAINT amount_off_is_positive CHECK (amount_off_minor > 0)
);
-- The promotions of a campaign, in order of id.
CREATE INDEX promotion_by_campaign ON promotion (campaign_id, promotion_id);
-- Every evaluation of a cart: is there a new promotion?
CREATE INDEX promotion_by_revision ON promotion (revision);

CREATE TABLE coupon (
    code text COLLATE "C" PRIMARY KEY,
    promotion_id text COLLATE "C" NOT NULL REFERENCES promotion,
    campaign_id text COLLATE "C" NOT NULL REFERENCES campaign,
    total_max bigint NOT NULL,
    per_profile_max bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT a_code_is_in_capitals CHECK (code = upper(code COLLATE "C"))
);
-- The codes of a campaign, in order of code.
CREATE INDEX coupon_by_campaign ON coupon (campaign_id, code);

-- An empty coupon_code counts every redemption of the promotion, an empty profile_id those of all profiles.
CREATE TABLE counter (
    promotion_id text COLLATE "C" NOT NULL,
    coupon_code text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    held bigint NOT NULL,
    committed bigint NOT NULL,
    redemptions_max bigint NOT NULL,  -- the promotion's or the coupon's limit; 0 for none
    revision bigint NOT NULL,
    PRIMARY KEY (promotion_id, coupon_code, profile_id),
    CONSTRAINT held_is_not_negative CHECK (held >= 0),
    CONSTRAINT committed_is_not_negative CHECK (committed >= 0),
    CONSTRAINT redemptions_keep_to_their_limit CHECK (redemptions_max = 0 OR held + committed <= redemptions_max)
) WITH (fillfactor = 70);  -- a hot counter is rewritten by every batch; free space keeps the updates in place

CREATE TABLE redemption (
    redemption_id text COLLATE "C" PRIMARY KEY,
    client_id text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    state text NOT NULL,
    order_reference text NOT NULL,
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT state_is_known CHECK (state IN ('held', 'committed', 'released', 'expired', 'reversed')),
    CONSTRAINT what_was_committed_has_an_order CHECK ((state IN ('committed', 'reversed')) = (order_reference <> '')),
    CONSTRAINT a_hold_lasts CHECK (expire_time > create_time)
) WITH (fillfactor = 80);
-- The sweeper: which holds lapse next.
CREATE INDEX redemption_by_expiry ON redemption (expire_time) WHERE state = 'held';
-- A client's own redemptions, in order of id.
CREATE INDEX redemption_by_client ON redemption (client_id, redemption_id);
-- A profile's redemptions, in order of id.
CREATE INDEX redemption_by_profile ON redemption (profile_id, redemption_id) WHERE profile_id <> '';

-- No foreign keys: each would lock the hot promotion's row. One writer decides what goes in, under the head lock, and
-- the audit compares offers with counters.
CREATE TABLE redemption_offer (
    redemption_id text COLLATE "C" NOT NULL,
    promotion_id text COLLATE "C" NOT NULL,
    coupon_code text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    position integer NOT NULL,
    held_until timestamptz,  -- the redemption's expire_time while it is held, null afterwards
    committed boolean NOT NULL,
    PRIMARY KEY (redemption_id, promotion_id),
    CONSTRAINT what_is_held_is_not_committed CHECK (NOT (committed AND held_until IS NOT NULL))
) WITH (fillfactor = 80);
-- Every batch, and every read: the holds on these promotions that have lapsed.
CREATE INDEX redemption_offer_held ON redemption_offer (promotion_id, held_until) WHERE held_until IS NOT NULL;
-- The audit: what counts for a promotion. Lists: the redemptions of a promotion.
CREATE INDEX redemption_offer_by_promotion ON redemption_offer (promotion_id, redemption_id);
-- The audit: what counts for a profile, and for a code.
CREATE INDEX redemption_offer_by_profile ON redemption_offer (promotion_id, profile_id) WHERE profile_id <> '';
CREATE INDEX redemption_offer_by_code ON redemption_offer (promotion_id, coupon_code) WHERE coupon_code <> '';
"""


def upgrade() -> None:
    """Creates everything."""
    op.execute(LOG_V1)
    op.execute(PROJECTIONS)
