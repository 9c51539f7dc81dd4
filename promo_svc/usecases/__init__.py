"""Intentions that are more than a pure command: pricing a cart, reading a redemption, checking the log."""
