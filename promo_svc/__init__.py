"""Decides which offer which customer gets, counts offers against their limits, and owns the price list.

Invariants: `promo_svc.domain`. Layers, each importing only from those behind it:
`__main__ → bootstrap → rpc → wire | rules | clients → usecases → store → domain → errors | settings`.
"""
