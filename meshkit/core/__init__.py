"""What domain code may use: no I/O, no framework.

Map: `errors` what crosses a border and what it means there, `decision` what a rule sees and says, `principal` who
calls, `clock`, `ids`, `money`, `settings` how a service is told, `logging` what it says.
"""
