"""What the wire promises: replies that stand for several RPCs, keys that the log and SQL write alike, times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.timestamp_pb2 import Timestamp

from beautymesh.promo.v1 import campaign_pb2, redemption_pb2
from meshkit.core.errors import InvalidRequest
from meshkit.rpc.times import from_micros, micros, moment, timestamp
from promo_svc.domain.prices import ALWAYS
from promo_svc.store.keys import price_key
from promo_svc.wire import messages
from tests.promo.shop import price


def fields(descriptor: Descriptor) -> list[tuple[int, str, int]]:
    return [(each.number, each.name, each.type) for each in descriptor.fields]


def test_answers_that_one_message_stands_for_have_the_same_fields() -> None:
    settled = fields(redemption_pb2.CommitRedemptionResponse.DESCRIPTOR)
    assert fields(redemption_pb2.ReleaseRedemptionResponse.DESCRIPTOR) == settled
    assert fields(redemption_pb2.ReverseRedemptionResponse.DESCRIPTOR) == settled
    created = fields(campaign_pb2.CreateCampaignResponse.DESCRIPTOR)
    assert fields(campaign_pb2.EndCampaignResponse.DESCRIPTOR) == created


def test_a_price_that_was_always_valid_says_no_time() -> None:
    assert not messages.price(price("A", 1)).HasField("valid_from")
    then = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
    assert messages.price(price("A", 1, valid_from=then)).valid_from == timestamp(then)
    assert price_key(price("A", 1, valid_from=then).key) == "price\x1fA\x1f\x1fUSD\x1f2026-03-01T12:00:00.000005Z"
    assert price_key(price("A", 1).key).endswith("0001-01-01T00:00:00.000000Z")


def test_times_survive_both_ways() -> None:
    for then in (ALWAYS, datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert moment(timestamp(then), "f") == then
        assert from_micros(micros(then)) == then
    assert from_micros(2**63 - 1) == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63), 253_402_300_800, -62_135_596_801])
def test_a_time_that_python_cannot_hold_is_refused_by_name(seconds: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        moment(Timestamp(seconds=seconds), "valid_from")
    assert refused.value.violations[0].field == "valid_from"
