"""Knows what may be sold where, now, and holds it for a cart without ever overselling.

Owns SKUs, locations, stock levels, sellable quantities, reservations and their allocations, and the log of all that
happened to them. Invariants: `inventory_svc.domain`. Layers, each importing only from those behind it:
`__main__ → bootstrap → rpc | workers → wire → usecases → store → domain → errors | settings`.
"""
