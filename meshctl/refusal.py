"""What cannot be done here, and the ways out."""

from __future__ import annotations


class SetupRefused(Exception):
    """Something about this machine or its settings stands in the way; nothing has been changed.

    `ways_out` are sentences for the person at the terminal: each alone is enough.
    """

    def __init__(self, problem: str, *ways_out: str) -> None:
        super().__init__("\n".join([problem, *(f"  - {way}" for way in ways_out)]))
        self.problem = problem
        self.ways_out = ways_out
