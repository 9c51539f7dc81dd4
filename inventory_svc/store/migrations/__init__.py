"""The schema's history: Alembic scripts in `versions`, numbered in one line."""
