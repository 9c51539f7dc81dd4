"""How services talk to PostgreSQL: engine, retryable transactions, migrations.

Map: `engine` makes the pool, `transact` runs a closure in one transaction, `faults` tells a passing fault from a
lasting one, `migrations` brings a schema up to date.
"""
