"""The profile's log: the kernel's writer with the profile's types."""

from __future__ import annotations

from meshkit.log.writer import LogWriter
from profile_svc.domain.decide import Body, Event, Reply, WorkingSet

ProfileWriter = LogWriter[Body, WorkingSet, Event, Reply]
