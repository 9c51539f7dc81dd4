"""The rules of profiles and purchases: pure, without I/O, protobuf or a clock.

Invariants:
    P1  order_count of a profile = the number of its purchases, and never falls.
    P2  A purchase belongs to a known profile; recording one makes its profile known.
    P3  A purchase id stands for one purchase, whoever recorded it.
    P4  All amounts of a purchase are of one currency.
    P5  The tags of a profile are sorted, each once.

Map: `profiles` becoming known, tags; `purchases` recording an order; `decide` the table from command to rule.
"""
