"""The one way in for outsiders: REST, GraphQL and webhooks over the services' RPCs.

So far it has health, reflection and an admin port; nothing else is served yet.
"""
