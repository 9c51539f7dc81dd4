"""How services talk to PostgreSQL: engine, one statement or one transaction, migrations.

Map: `engine` makes the pool, `read` and `write` run one statement, `transact` a closure in one transaction, `attempts`
does work again after a passing fault and `faults` tells such a one, `migrations` brings a schema up to date and
`schema` tells whether it is.
"""
