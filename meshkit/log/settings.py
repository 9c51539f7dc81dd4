"""What can be told to a service that keeps a log."""

from __future__ import annotations

from pydantic import Field

from meshkit.core.settings import ServiceSettings
from meshkit.log.limits import Limits


class LogSettings(ServiceSettings):
    """The settings of the log's writer and of the pool that its readers share."""

    log_queue_commands_max: int = Field(4_000, ge=1, le=100_000)
    """Commands that may wait for a batch; more are refused with RESOURCE_EXHAUSTED."""

    log_batch_commands_max: int = Field(1_000, ge=1, le=10_000)
    """Commands of one batch."""

    log_batch_weight_max: int = Field(10_000, ge=1, le=100_000)
    """Lines of all commands of one batch together; a single command may have more."""

    log_decide_seconds_max: float = Field(0.01, gt=0, le=1)
    """Time of deciding after which a batch ends, so that the loop stays responsive. 10 ms are some 250 commands."""

    log_keep_days: int = Field(7, ge=7, le=365)
    """How long the repeat of a request is recognised, and a saga's former owner refused."""

    database_connections_max: int = Field(4, ge=1, le=100)
    """Connections of this process for queries; the writer has one more of its own."""

    @property
    def limits(self) -> Limits:
        """The bounds as the writer takes them."""
        return Limits(
            queue_commands_max=self.log_queue_commands_max,
            batch_commands_max=self.log_batch_commands_max,
            batch_weight_max=self.log_batch_weight_max,
            decide_seconds_max=self.log_decide_seconds_max,
        )
