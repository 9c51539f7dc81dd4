"""Conditions and selectors: CEL over the facts of a cart, typed by the contract's messages.

Map: `engine` compiles, checks and evaluates; `cost` says beforehand how much an expression can do.
"""
