"""Intentions that are more than a pure command: reading what may be sold, reading a hold, checking the ledger."""
