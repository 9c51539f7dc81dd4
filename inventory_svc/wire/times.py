"""Aware UTC datetimes as Protobuf timestamps, to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def timestamp(moment: datetime) -> Timestamp:
    """The moment as a Timestamp."""
    seconds, microseconds = divmod((moment - _EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1000)


def moment(value: Timestamp) -> datetime:
    """The Timestamp as an aware datetime; nanoseconds are cut off."""
    return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def span(value: Duration) -> timedelta:
    """The Duration; nanoseconds are cut off."""
    return timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
