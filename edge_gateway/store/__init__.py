"""The edge's own tables: checkouts and the requests that moved them."""
