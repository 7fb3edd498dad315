"""What a sync does unless told otherwise, by who calls the engine or by an option."""

BATCH_ROWS = 1000
"""Rows in a batch."""

MOST_BATCH_ROWS = 10_000

PUSH_STATUS_TIMEOUT = 300.0
"""Seconds that a push waits for the outcome of its session."""
