"""The rules of prices, offers and redemptions: pure, without I/O, protobuf or a clock.

Invariants, asserted where counters change and held by the database as constraints:
    P1  held and committed of a counter are never negative.
    P2  A hold never takes held + committed of a counter past its limit.
    P3  held and committed of a counter = the number of offers of held and of committed redemptions that it counts.
    P4  A redemption leaves `held` once, to one of committed, released, expired; and `committed` only to reversed.
    P5  What a line costs is never below zero, and what offers take off a cart is the sum over its lines, to the cent.

Map: `prices` the price list, `campaigns` campaigns, promotions and coupon codes, `counters` how often an offer is used,
`redemptions` hold, commit, release, reverse, expire, `evaluate` what a cart costs, `decide` the table from command to
rule.
"""
