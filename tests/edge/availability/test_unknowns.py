"""What is remembered of unknown names, and for how long."""

from __future__ import annotations

import pytest

from edge_gateway.clients import unknowns
from edge_gateway.clients.entries import Unknown
from edge_gateway.clients.unknowns import KEPT_SECONDS, Unknowns
from meshkit.core.errors import Kind
from meshkit.rpc.status import class_for
from tests.edge.availability.fake import Hand, delta

X, Y = (Unknown(sku, "default", 7, "log") for sku in "XY")
NOWHERE = class_for(Kind.NOT_FOUND, "UNKNOWN_CHANNEL")("unknown channel nowhere")


def test_a_name_is_remembered_for_its_time_and_not_longer_for_being_asked_for() -> None:
    clock = Hand()
    kept = Unknowns(clock_seconds=clock)
    kept.keep_sku(X, asked_seconds=clock.seconds)
    clock.seconds += KEPT_SECONDS - 0.125
    assert [kept.find(sku, channel) for sku, channel in (("X", "default"), ("Y", "default"), ("X", "app"))] == [
        X,
        None,
        None,
    ]
    clock.seconds += 0.125
    assert kept.find("X", "default") is None


def test_an_unknown_channel_stands_for_all_its_skus() -> None:
    kept = Unknowns(clock_seconds=Hand())
    kept.keep_channel("nowhere", NOWHERE, asked_seconds=1_000)
    assert [kept.find("X", channel) for channel in ("nowhere", "default")] == [NOWHERE, None]


def test_a_delta_makes_its_sku_and_its_channel_known() -> None:
    kept = Unknowns(clock_seconds=Hand())
    for sku in (X, Y):
        kept.keep_sku(sku, asked_seconds=1_000)
    kept.keep_channel("nowhere", NOWHERE, asked_seconds=1_000)
    kept.apply([delta("X", 4, 9)])
    assert [kept.find(*each) for each in (("X", "default"), ("Y", "default"), ("Z", "nowhere"))] == [None, Y, NOWHERE]
    kept.apply([delta("Z", 4, 10, "nowhere")])
    assert kept.find("Z", "nowhere") is None


def test_the_name_that_was_asked_for_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknowns, "KEPT_MAX", 2)
    kept = Unknowns(clock_seconds=Hand())
    for sku in (X, Y):
        kept.keep_sku(sku, asked_seconds=1_000)
    kept.find("X", "default")
    kept.keep_channel("nowhere", NOWHERE, asked_seconds=1_000)
    assert [kept.find(*each) for each in (("X", "default"), ("Y", "default"), ("Z", "nowhere"))] == [X, None, NOWHERE]
