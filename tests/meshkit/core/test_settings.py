from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from meshkit.core.settings import ServiceSettings, SettingDescription, SettingsFault, describe, is_loopback


class ShopSettings(ServiceSettings):
    service: ClassVar[str] = "shop"

    queue_commands_max: int = Field(default=5000, ge=1, le=100_000)
    """Commands that wait at most."""


def test_every_setting_has_a_default() -> None:
    assert ShopSettings.load().queue_commands_max == 5000


def test_variable_of_the_service_comes_before_the_one_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAUTYMESH_DRAIN_SECONDS", "3")
    monkeypatch.setenv("BEAUTYMESH_ISSUER", "everybody")
    monkeypatch.setenv("BEAUTYMESH_SHOP_DRAIN_SECONDS", "4")
    settings = ShopSettings.load()
    assert (settings.drain_seconds, settings.issuer) == (4.0, "everybody")


def test_collector_is_found_by_its_standard_name_after_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    assert ShopSettings.load().otlp_endpoint == "http://127.0.0.1:4317"
    monkeypatch.setenv("BEAUTYMESH_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert ShopSettings.load().otlp_endpoint == "http://127.0.0.1:9"


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAUTYMESH_SHOP_DRAIN_SECONDS", "")
    assert ShopSettings.load().drain_seconds == 2.0


def test_all_faults_are_said_at_once_by_the_variable_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAUTYMESH_DRAIN_SECONDS", "-1")
    monkeypatch.setenv("BEAUTYMESH_SHOP_WORKER", "two")
    monkeypatch.setenv("BEAUTYMESH_SHOP_QUEUE_COMMANDS_MAX", "0")
    with pytest.raises(SettingsFault) as raised:
        ShopSettings.load()
    assert str(raised.value).splitlines() == [
        "the shop service cannot start:",
        "  BEAUTYMESH_SHOP_WORKER: input should be a valid integer, unable to parse string as an integer (it is 'two')",
        "  BEAUTYMESH_DRAIN_SECONDS: input should be greater than or equal to 0 (it is '-1')",
        "  BEAUTYMESH_SHOP_QUEUE_COMMANDS_MAX: input should be greater than or equal to 1 (it is '0')",
    ]


def test_url_with_its_password_is_not_shown() -> None:
    assert "hunter2" not in repr(ShopSettings(database_url="postgresql://shop:hunter2@127.0.0.1/shop"))


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("GRPC_LISTEN", "0.0.0.0:50051", "grpc_listen 0.0.0.0:50051 can be reached by other machines"),
        ("GRPC_LISTEN", "[::]:50051", "can be reached by other machines"),
        ("GRPC_LISTEN", "inventory:50051", "can be reached by other machines"),
        ("KEY_FILE", "/k", "certificate_file and key_file belong together"),
        ("CLIENT_CA_FILE", "/c", "client_ca_file needs certificate_file and key_file"),
    ],
)
def test_transport_that_is_open_or_incomplete_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, fault: str
) -> None:
    monkeypatch.setenv(f"BEAUTYMESH_SHOP_{name}", value)
    with pytest.raises(SettingsFault) as raised:
        ShopSettings.load()
    assert fault in str(raised.value)


def test_open_address_is_fine_with_tls_or_on_request() -> None:
    ShopSettings(grpc_listen="0.0.0.0:1", allow_plaintext=True)
    ShopSettings(grpc_listen="0.0.0.0:1", certificate_file=Path("c"), key_file=Path("k"))


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True), ("10.0.0.1:1", False)],
)
def test_loopback_is_what_only_this_machine_reaches(listen: str, *, loopback: bool) -> None:
    assert is_loopback(listen) is loopback


def test_reference_page_row_holds_all_that_an_operator_asks() -> None:
    rows = {row.name: row for row in describe(ShopSettings)}
    assert rows["drain_seconds"] == SettingDescription(
        name="drain_seconds",
        variables=("BEAUTYMESH_SHOP_DRAIN_SECONDS", "BEAUTYMESH_DRAIN_SECONDS"),
        default="2.0",
        unit="s",
        bound="≥ 0, ≤ 600",
        description="Time that running calls have to end once the server stops taking new ones.",
    )
    assert rows["log_level"].bound == "debug | info | warning | error"
    assert rows["queue_commands_max"].description == "Commands that wait at most."


def test_every_setting_is_described() -> None:
    assert [row.name for row in describe(ServiceSettings) if not row.description] == []
