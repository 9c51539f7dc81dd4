"""Conditions and selectors: CEL over the facts of a cart, typed by the contract's messages.

Map: `engine` compiles, checks and evaluates.
"""
