-- Pulls: the snapshot that each serves, as encoded batches.

-- name: find
SELECT p.answer
  FROM sync_pull AS p
 WHERE p.tenant_id = :tenant_id
   AND p.pull_id = :pull_id;

-- name: add
INSERT INTO sync_pull (tenant_id, pull_id, device_id, answer, created_at_utc)
VALUES (:tenant_id, :pull_id, :device_id, :answer, :now);

-- name: add_batch
-- A pull that was interrupted while it was spooled is spooled anew.
INSERT INTO sync_pull_batch (tenant_id, pull_id, number, payload)
VALUES (:tenant_id, :pull_id, :number, :payload)
ON CONFLICT (tenant_id, pull_id, number) DO UPDATE SET payload = excluded.payload;

-- name: find_batch
SELECT b.payload
  FROM sync_pull_batch AS b
 WHERE b.tenant_id = :tenant_id
   AND b.pull_id = :pull_id
   AND b.number = :number;

-- name: delete
DELETE FROM sync_pull
 WHERE tenant_id = :tenant_id
   AND pull_id = :pull_id;

-- name: delete_batches
DELETE FROM sync_pull_batch
 WHERE tenant_id = :tenant_id
   AND pull_id = :pull_id;
