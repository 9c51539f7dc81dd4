"""The edge's own rules: what a checkout is and where it may go."""
