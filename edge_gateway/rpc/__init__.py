"""The RPCs that the edge answers in its own process, over gRPC and REST alike."""
