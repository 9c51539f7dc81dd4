"""The one way in for outsiders: REST over the services' RPCs, reads from memory, and checkouts across services.

Map: `rest` turns HTTP into RPCs by the contract's options, `rpc` are the edge's own RPCs, `sagas` and `store` carry a
checkout through whatever happens, `workers` finish what others left, `clients` call services and mirror their stock.
"""
