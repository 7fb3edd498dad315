"""What both sides agree on byte for byte. Reference: docs/reference/protocol.md."""

VERSION = 1
"""The protocol version that this side speaks."""

VERSION_HEADER = "SyncSession-Protocol"
DEVICE_HEADER = "SyncSession-Device"
BATCH_TYPE = "application/vnd.syncsession.batch"
