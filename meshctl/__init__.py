"""The command line and what it stands on: embedded servers, the supervisor of one machine, code generation.

`cli` names the commands; `up` puts a whole mesh on one machine by way of `state` (the folder everything lives in),
`embedded` (PostgreSQL and Valkey), `supervisor` (children that are restarted and stopped in order), `launch` (how a
child starts) and `ports`. Services are started by exec and spoken to by RPC; nothing here imports one.
"""
