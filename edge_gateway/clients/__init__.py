"""The services as the edge uses them: calls on behalf of others, and what it keeps of their answers."""
