"""Decides which offer which customer gets.

So far it has health, reflection and an admin port; nothing else is served yet.
"""
