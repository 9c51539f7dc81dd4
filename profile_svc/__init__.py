"""Knows customers, their consent and their interactions.

So far it has health, reflection and an admin port; nothing else is served yet.
"""
