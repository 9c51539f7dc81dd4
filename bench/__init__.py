"""What the platform does a second, and how far that is from what the machine could do: `python -m bench [--quick]`.

Every comparison is a ratio of two things measured in one run, in turns (A B A B …), by the medians of their windows: so
it says something on a noisy machine too. PostgreSQL is the embedded one with fsync and synchronous_commit on. The load
comes from a process of its own, because a client saturates about when a server does.

Map: `__main__` runs the cases and prints the table, `stack` the processes under test, `echo` the service that does
nothing, `load` the process that calls them, `bare` the same rows without a service, `usage` what each process costs.
"""
