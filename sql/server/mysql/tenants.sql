-- Tenants, their tokens and devices.
--
-- Twins: the same names and parameters in each dialect. Times are parameters.

-- name: add_tenant
INSERT INTO sync_tenant (tenant_id, created_at_utc)
VALUES (:tenant_id, :now)
ON DUPLICATE KEY UPDATE tenant_id = tenant_id;

-- name: add_token
INSERT INTO sync_token (token_hash, tenant_id, user_id, scopes, created_at_utc)
VALUES (:token_hash, :tenant_id, :user_id, :scopes, :now)
ON DUPLICATE KEY UPDATE token_hash = token_hash;

-- name: find_token
SELECT t.tenant_id, t.user_id, t.scopes
  FROM sync_token AS t
 WHERE t.token_hash = :token_hash;

-- name: find_device
SELECT d.tenant_id
  FROM sync_device AS d
 WHERE d.device_id = :device_id;

-- name: add_device
INSERT INTO sync_device (device_id, tenant_id, user_id, created_at_utc)
VALUES (:device_id, :tenant_id, :user_id, :now)
ON DUPLICATE KEY UPDATE device_id = device_id;
