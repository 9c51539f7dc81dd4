"""All SQL of the profile service.

Map: `working_set` reads and writes what a batch needs, `queries` reads for callers, `keys` names things in the log,
`ledger` checks log against projections, `migrations` the schema.
"""
