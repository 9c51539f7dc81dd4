"""What every service of the mesh shares, and nothing that only one of them needs.

Map: `core` errors, settings, time, identity, money; `db` PostgreSQL; `log` the log kernel; `feed` watch streams and
their followers; `rpc` gRPC servers and channels; `telemetry` metrics, traces, the admin port; `service` the life of a
process, `main` its command line.
"""
