"""What can be told to a service that has a feed."""

from __future__ import annotations

from pydantic import Field

from meshkit.core.settings import ServiceSettings
from meshkit.feed.feed import FeedBounds


class FeedSettings(ServiceSettings):
    """The settings of the feed; `meshkit.feed.feed.FeedBounds` says what they do."""

    feed_poll_seconds: float = Field(0.25, gt=0, le=0.25)
    """How late a commit of another process is seen when hints are lost."""

    feed_window_events_max: int = Field(20_000, ge=100, le=1_000_000)
    """Events kept in memory for streams; about 1 KiB each. A stream that is further behind reads the log."""

    feed_window_bytes_max: int = Field(32 * 1024 * 1024, ge=1024 * 1024, le=1024 * 1024 * 1024)
    """Encoded messages kept in memory for streams."""

    feed_page_events_max: int = Field(2_000, ge=100, le=10_000)
    """Events that a stream behind the window reads at once; 2,000 hold up the loop for some 15 ms."""

    feed_pace_seconds_max: float = Field(0.05, gt=0, le=1)
    """Time between two deliveries when there are very many streams."""

    feed_stream_seconds_max: float = Field(1800.0, ge=1, le=86_400)
    """Age at which a stream is asked to move on, less up to a fifth by chance."""

    @property
    def feed_bounds(self) -> FeedBounds:
        """The bounds as the feed takes them."""
        return FeedBounds(
            poll_seconds=self.feed_poll_seconds,
            window_events_max=self.feed_window_events_max,
            window_bytes_max=self.feed_window_bytes_max,
            page_events_max=self.feed_page_events_max,
            pace_seconds_max=self.feed_pace_seconds_max,
            stream_seconds_max=self.feed_stream_seconds_max,
        )
