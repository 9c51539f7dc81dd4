"""One promo process on a database of its own for all tests of RPCs; campaigns and SKUs of each test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from meshkit.core.ids import new_id
from meshkit.db.migrations import migrate
from meshkit.rpc.tokens import ensure_keys
from promo_svc.store.migrations import MIGRATIONS
from tests.embedded import Embedded
from tests.processes import Process, Stack, process
from tests.promo.clients import Stub, client
from tests.promo.rpc.calls import Stand, campaign, coupons, prices, promotion


@pytest.fixture(scope="session")
def stack(embedded: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A migrated database and keys."""
    url = embedded.make_database("promo")
    migrate(url, MIGRATIONS)
    folder: Path = tmp_path_factory.mktemp("promo")
    return Stack(url, "", ensure_keys(folder), folder, "promo")


@pytest.fixture(scope="session")
def service(stack: Stack) -> Iterator[Process]:
    """The process."""
    with process(stack) as running:
        yield running


@pytest.fixture
async def stub(stack: Stack, service: Process) -> AsyncIterator[Stub]:
    """A client with every scope but staff's and the one to bring own prices."""
    async with client(stack, service.target) as stub:
        yield stub


@pytest.fixture
async def stand(stub: Stub) -> Stand:
    """Two prices; 20 % off the first SKU, limited to 2; 5.00 off by code."""
    stand = Stand.new(new_id()[-12:])
    await stub.BatchUpsertPrices(prices(stand.red, 1_999))
    await stub.BatchUpsertPrices(prices(stand.blue, 1_000))
    await stub.CreateCampaign(campaign(stand))
    selector = f"line.sku == '{stand.red}'"
    await stub.CreatePromotion(promotion(stand, stand.percent, selector=selector, limit={"total": 2}))
    condition = f"'{stand.red}' in cart.skus"
    await stub.CreatePromotion(
        promotion(
            stand,
            stand.amount,
            benefit={"amount_off": {"minor": 500, "currency": "USD"}},
            condition=condition,
            needs_coupon=True,
            priority=1,
        )
    )
    await stub.CreateCoupons(coupons(stand, f"{stand.code.lower()}"))
    return stand
