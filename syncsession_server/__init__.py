"""The SyncSession server: what all devices of a tenant share."""
