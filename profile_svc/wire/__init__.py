"""Protobuf to domain and back, nothing else.

Map: `requests` what callers ask for, `replies` what they get, `events` what the log keeps, `messages` the nouns that
both are made of.
"""
