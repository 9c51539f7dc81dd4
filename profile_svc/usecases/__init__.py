"""Intentions that are more than a pure command: checking the ledger."""
