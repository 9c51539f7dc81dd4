"""Knows what the brand may use of a person, without saying who it is: tags and purchases under an opaque id.

Owns profiles, their purchases, and the log of all that happened to them. Invariants: `profile_svc.domain`. Layers,
each importing only from those behind it:
`__main__ → bootstrap → rpc → wire → usecases → store → domain → errors | settings`.
"""
