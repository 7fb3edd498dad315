-- Pulls that are too large for one answer: the snapshot that each serves, spooled as encoded batches.
--
-- Twins: the same names and parameters in each dialect. Times are parameters.

-- name: find
SELECT p.answer
  FROM sync_pull AS p
 WHERE p.tenant_id = :tenant_id
   AND p.pull_id = :pull_id;

-- name: add
-- The first to have it spooled wins.
INSERT INTO sync_pull (tenant_id, pull_id, device_id, spool_id, answer, alive_at_utc)
VALUES (:tenant_id, :pull_id, :device_id, :spool_id, :answer, :now)
ON CONFLICT (tenant_id, pull_id) DO NOTHING;

-- name: add_batch
-- It may be there already, where the answer to the first attempt was lost.
INSERT INTO sync_pull_batch (spool_id, number, payload, created_at_utc)
VALUES (:spool_id, :number, :payload, :now)
ON CONFLICT DO NOTHING;

-- name: find_batch
-- Returns (payload, alive_at_utc).
SELECT b.payload, p.alive_at_utc
  FROM sync_pull AS p
  JOIN sync_pull_batch AS b ON b.spool_id = p.spool_id
 WHERE p.tenant_id = :tenant_id
   AND p.pull_id = :pull_id
   AND b.number = :number;

-- name: keep
-- The device is still there.
UPDATE sync_pull
   SET alive_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND pull_id = :pull_id;

-- name: delete_batches
DELETE FROM sync_pull_batch
 WHERE spool_id IN (SELECT p.spool_id
                      FROM sync_pull AS p
                     WHERE p.tenant_id = :tenant_id
                       AND p.pull_id = :pull_id);

-- name: delete
DELETE FROM sync_pull
 WHERE tenant_id = :tenant_id
   AND pull_id = :pull_id;
