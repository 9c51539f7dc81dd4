"""The rules of stock: pure, without I/O, protobuf or a clock.

Invariants, asserted where levels change and held by the database as constraints of the same names:
    I1  on_hand, unavailable, reserved and allocated are never negative.
    I2  A reservation never takes `available` below zero: nothing is oversold.
    I3  reserved of a level = the sum of the lines of its held reservations.
    I4  allocated of a level = the sum of (quantity - shipped) over the lines of its open allocations.
    I5  sellable(sku, default) = the sum over its levels of max(0, available).
    I6  A reservation leaves `held` once, to exactly one of committed, released, expired.
    I7  shipped of a line never exceeds its quantity.

Map: `stock` counters and the working set, `catalogue` SKUs and locations, `movements` receive, adjust, set,
`reservations` hold, extend, commit, release, expire, ship, `decide` the table from command to rule.
"""
