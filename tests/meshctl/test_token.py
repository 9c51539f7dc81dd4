from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from inventory_svc.rpc import commands as inventory
from meshctl.up import WIDENING_SCOPES
from meshkit.core.clock import Clock, ManualClock
from meshkit.core.errors import Unauthenticated
from meshkit.core.principal import Principal
from meshkit.rpc.tokens import TokenVerifier, ensure_keys
from promo_svc.rpc import commands as promo
from promo_svc.rpc.queries import OVERRIDE
from tests.meshctl.serving import beautymesh


@pytest.fixture
def state(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "keys")
    return tmp_path


def verify(state: Path, token: str, clock: Clock | None = None) -> Principal:
    verifier = TokenVerifier(state / "keys" / "jwks.json", issuer="beautymesh", clock=clock)
    return verifier.verify(token.removesuffix("\n"))


def test_a_token_grants_what_was_asked_for_and_nothing_else(state: Path) -> None:
    asked = (
        "--scope",
        "inventory.read",
        "--scope",
        "inventory.reserve",
        "--subject",
        "user:ada",
        "--client-id",
        "shop",
    )
    limits = ("--channel", "webshop", "--location", "WH", "--location", "ST")
    result = beautymesh("token", *asked, *limits, "--state", str(state))
    assert result.stderr == ""
    assert verify(state, result.stdout) == Principal(
        subject="user:ada",
        client_id="shop",
        scopes=frozenset({"inventory.read", "inventory.reserve"}),
        channels=frozenset({"webshop"}),
        locations=frozenset({"WH", "ST"}),
    )


def test_a_token_ends_with_its_lifetime(state: Path) -> None:
    result = beautymesh("token", "--scope", "inventory.read", "--lifetime", "1", "--state", str(state))
    later = ManualClock(datetime.now(UTC) + timedelta(seconds=1))
    with pytest.raises(Unauthenticated, match="expired"):
        verify(state, result.stdout, clock=later)


def test_a_scope_that_no_rpc_knows_is_pointed_out(state: Path) -> None:
    result = beautymesh("token", "--scope", "inventory.raed", "--state", str(state))
    assert result.returncode == 0
    assert result.stderr.startswith("no RPC knows the scope inventory.raed; they ask for: checkout ")
    assert result.stderr.endswith("widened by: inventory.operate promo.operate promo.price.override\n")


def test_a_scope_that_only_widens_is_granted_without_a_word(state: Path) -> None:
    result = beautymesh("token", "--scope", " ".join(WIDENING_SCOPES), "--state", str(state))
    assert result.stderr == ""
    assert verify(state, result.stdout).scopes == WIDENING_SCOPES


def test_scopes_that_widen_are_those_that_the_services_look_at() -> None:
    assert {inventory.OPERATE, promo.OPERATE, *OVERRIDE} == WIDENING_SCOPES


def test_without_a_key_there_is_no_token(tmp_path: Path) -> None:
    result = beautymesh("token", "--scope", "inventory.read", "--state", str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert "there is no key to sign with" in result.stderr
