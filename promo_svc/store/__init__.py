"""All SQL of promo.

Map: `working_set` reads what a batch needs and `save` writes what it changed, `queries` reads lists for callers,
`pricing` reads what a cart's evaluation needs, `keys` names things in the log, `ledger` checks log against projections,
`migrations` the schema.
"""
