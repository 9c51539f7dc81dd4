"""How the edge process is put together: the one place that names concrete classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from edge_gateway.clients.availability import AvailabilityCache
from edge_gateway.clients.services import INVENTORY, PROFILE, PROMO, open_channels, own_inventory, services
from edge_gateway.clients.storefront import Storefront
from edge_gateway.rest.app import RestApp
from edge_gateway.rest.availability import availability_handlers
from edge_gateway.rest.own_pages import own_pages
from edge_gateway.rest.remote import local_handlers, remote_handlers
from edge_gateway.rpc.checkouts import DESCRIPTOR as CHECKOUTS
from edge_gateway.rpc.checkouts import CheckoutServicer
from edge_gateway.rpc.storefront import DESCRIPTOR as STOREFRONT
from edge_gateway.rpc.storefront import StorefrontServicer
from edge_gateway.sagas.checkout import Checkouts
from edge_gateway.sagas.reevaluation import Reevaluation
from edge_gateway.sagas.runner import Runner
from edge_gateway.settings import EdgeSettings
from edge_gateway.store.checkouts import wait_for_fingerprint_key
from edge_gateway.store.migrations import MIGRATIONS
from edge_gateway.workers.retention import Retention
from edge_gateway.workers.takeover import Takeover
from meshkit.core.ids import new_id
from meshkit.core.settings import SettingsFault
from meshkit.db.engine import make_engine
from meshkit.db.schema import require_current
from meshkit.http import HttpServer
from meshkit.rpc.health import Health
from meshkit.rpc.options import read_policies
from meshkit.service import Runtime, ServiceParts, software_version

SERVED = (INVENTORY, PROMO, PROFILE, CHECKOUTS, STOREFRONT)
"""Whose routes the REST interface has."""


@asynccontextmanager
async def build(runtime: Runtime[EdgeSettings]) -> AsyncGenerator[ServiceParts]:
    """The parts of the process, once its database answers. The services may come later.

    Raises:
        SchemaTooOld: the database must be migrated first.
        SettingsFault: there is no key to sign tokens with, so no service would listen.
    """
    settings, metrics = runtime.settings, runtime.metrics
    if runtime.service_tokens is None:
        raise SettingsFault("the edge needs BEAUTYMESH_SIGNING_KEY_FILE: it calls services with tokens of its own")
    async with AsyncExitStack() as stack:
        engine = make_engine(settings.database_url, connections_max=settings.database_connections_max)
        stack.push_async_callback(engine.dispose)
        fingerprint_key = await wait_for_fingerprint_key(engine, MIGRATIONS)
        channels = await stack.enter_async_context(
            open_channels(settings, tokens=runtime.service_tokens, metrics=metrics)
        )
        own = await stack.enter_async_context(own_inventory(settings, tokens=runtime.service_tokens, metrics=metrics))
        cache = AvailabilityCache(own, entries_max=settings.cached_availabilities_max, metrics=metrics)
        storefront = Storefront(
            cache, low_threshold=settings.storefront_low_quantity, quantity_cap=settings.storefront_quantity_max
        )
        stubs = services(channels)
        runner = Runner(
            engine=engine,
            services=stubs,
            mend=Reevaluation(services=stubs, new_id=new_id),
            policy=read_policies([CHECKOUTS])[f"/{CHECKOUTS.full_name}/CreateCheckout"],
            lease_seconds=settings.lease_seconds,
            metrics=metrics,
        )
        stack.push_async_callback(runner.drain)  # once nobody begins anything any more, and before the channels close
        checkouts = CheckoutServicer(
            Checkouts(
                engine=engine,
                services=stubs,
                runner=runner,
                fingerprint_key=fingerprint_key,
                clock=runtime.clock,
                new_id=new_id,
                lease_seconds=settings.lease_seconds,
            )
        )
        takeover = Takeover(
            engine=engine,
            runner=runner,
            lease_seconds=settings.lease_seconds,
            scan_seconds=settings.scan_seconds,
            metrics=metrics,
        )
        retention = Retention(engine=engine, keep_days=settings.checkout_keep_days)
        handlers = {
            **remote_handlers(channels.inventory, INVENTORY),
            **remote_handlers(channels.promo, PROMO),
            **remote_handlers(channels.profile, PROFILE),
            **local_handlers(CHECKOUTS, checkouts),
        }
        handlers |= availability_handlers(cache, storefront, handlers)
        rest: list[RestApp] = []

        def http(health: Health) -> HttpServer:
            app = RestApp(
                SERVED,
                handlers,
                verifier=runtime.verifier,
                metrics=metrics,
                tracing=runtime.tracing,
                deadline_seconds_default=settings.deadline_seconds_default,
                pages=own_pages(
                    SERVED,
                    readiness=health,
                    metrics=metrics,
                    verifier=runtime.verifier,
                    version=software_version(),
                ),
            )
            rest.append(app)
            return HttpServer(app, listen=settings.http_listen, name="REST port")

        async def end_streams() -> None:
            for app in rest:
                app.end_streams()

        yield ServiceParts(
            servicers=[(CHECKOUTS, checkouts), (STOREFRONT, StorefrontServicer(storefront))],
            checks={"database": partial(require_current, engine, MIGRATIONS), "inventory stream": cache.check},
            tasks=[takeover.run, runner.keep_leases, retention.run, cache.run],
            on_drain=[end_streams],
            http=http,
        )
