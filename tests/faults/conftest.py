"""Tests that start servers of their own after others have used gRPC."""

import os

# gRPC's handlers would run in every child that is forked, as for a program that runs as another user, and crash some
# that meet its threads. Nothing here forks to go on in Python.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
