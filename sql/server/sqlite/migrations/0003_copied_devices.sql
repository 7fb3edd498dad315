-- What finds the sessions of a device, by which a copy of it is known.

-- name: session_device
CREATE INDEX ix_session_device ON sync_session (tenant_id, device_id, number);
