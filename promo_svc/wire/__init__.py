"""Protobuf to domain and back, nothing else.

Map: `requests` what callers ask for, `carts` carts and what they cost, `replies` what callers get, `events` what the
log keeps and lists, `messages` the nouns that all of them show.
"""
