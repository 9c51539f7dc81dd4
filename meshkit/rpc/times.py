"""Aware UTC datetimes as Protobuf timestamps, to the microsecond."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from meshkit.core.errors import InvalidRequest

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NANOS = 1_000_000_000


def timestamp(moment: datetime) -> Timestamp:
    """The moment as a Timestamp."""
    seconds, microseconds = divmod((moment - _EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1000)


def moment(value: Timestamp, field: str) -> datetime:
    """The Timestamp as an aware datetime; nanoseconds are cut off.

    Raises:
        InvalidRequest: naming `field`: not between the years 1 and 9999, as a Timestamp must be.
    """
    if 0 <= value.nanos < _NANOS:
        with contextlib.suppress(OverflowError):
            return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    raise InvalidRequest.of(field, "is not a time between the years 1 and 9999")


def span(value: Duration) -> timedelta:
    """The Duration; nanoseconds are cut off."""
    return timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def micros(moment: datetime) -> int:
    """The moment as a number that page tokens can carry: microseconds from the year 1 on."""
    return (moment - _BEGINNING) // _MICROSECOND


def from_micros(value: int) -> datetime:
    """The moment of such a number; the last one there is for numbers beyond."""
    try:
        return _BEGINNING + timedelta(microseconds=value)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
