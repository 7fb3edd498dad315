-- What finds the sessions of a device, by which a copy of it is known.

-- name: session_device
ALTER TABLE sync_session ADD KEY ix_session_device (tenant_id, device_id, number);
