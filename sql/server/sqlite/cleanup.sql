-- What the clean-up job finds and removes. It goes in small steps, each a transaction of its own.
--
-- Twins: the same names and parameters in each dialect. Times are parameters.

-- name: stale_sessions
-- Sessions whose device has given no sign of life. Returns (tenant_id, session_id).
SELECT s.tenant_id, s.session_id
  FROM sync_session AS s
 WHERE s.status IN ('open', 'staged')
   AND s.alive_at_utc < :cutoff
 LIMIT 100;

-- name: leftover_staging
-- Sessions that have ended, or are gone, and still have batches. Returns (tenant_id, session_id).
SELECT DISTINCT b.tenant_id, b.session_id
  FROM sync_staging AS b
  LEFT JOIN sync_session AS s ON s.tenant_id = b.tenant_id AND s.session_id = b.session_id
 WHERE s.status IS NULL
    OR s.status IN ('committed', 'failed', 'expired')
 LIMIT 100;

-- name: stale_pulls
-- Returns (tenant_id, pull_id).
SELECT p.tenant_id, p.pull_id
  FROM sync_pull AS p
 WHERE p.alive_at_utc < :cutoff
 LIMIT 100;

-- name: leftover_spools
-- Spools that never became a pull. Returns (spool_id).
SELECT DISTINCT b.spool_id
  FROM sync_pull_batch AS b
  LEFT JOIN sync_pull AS p ON p.spool_id = b.spool_id
 WHERE p.spool_id IS NULL
   AND b.created_at_utc < :cutoff
 LIMIT 100;

-- name: delete_spool
DELETE FROM sync_pull_batch
 WHERE spool_id = :spool_id;

-- name: tenants
-- Returns (tenant_id, horizon, purged, last_number).
SELECT t.tenant_id, t.horizon, t.purged, t.last_number
  FROM sync_tenant AS t
 ORDER BY t.tenant_id;

-- name: oldest_kept
-- The first session, after :after, that is under way or ended too late to be forgotten. By number, so
-- that the search ends with it. Returns (number).
SELECT s.number
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.number > :after
   AND (s.status IN ('open', 'staged', 'queued', 'processing') OR s.changed_at_utc >= :cutoff)
 ORDER BY s.number
 LIMIT 1;

-- name: set_horizon
UPDATE sync_tenant
   SET horizon = :horizon
 WHERE tenant_id = :tenant_id
   AND horizon < :horizon;

-- name: set_purged
UPDATE sync_tenant
   SET purged = :purged
 WHERE tenant_id = :tenant_id
   AND purged < :purged;

-- name: delete_sessions
-- Some of those up to the horizon.
DELETE FROM sync_session
 WHERE tenant_id = :tenant_id
   AND number IN (SELECT s.number
                    FROM sync_session AS s
                   WHERE s.tenant_id = :tenant_id
                     AND s.number <= :horizon
                   LIMIT 1000);

-- name: history_pruned
-- Returns (tenant_id, history_pruned_utc).
SELECT t.tenant_id, t.history_pruned_utc
  FROM sync_tenant AS t
 ORDER BY t.tenant_id;

-- name: set_history_pruned
-- One of the processes that find it due changes a row.
UPDATE sync_tenant
   SET history_pruned_utc = :cutoff
 WHERE tenant_id = :tenant_id
   AND history_pruned_utc = :known;

-- name: history_piece
-- Of a few versions after the key :after the last key; NULL where there are none.
SELECT max(p.row_key)
  FROM (SELECT h.row_key
          FROM sync_history AS h
         WHERE h.tenant_id = :tenant_id
           AND h.table_name = :table_name
           AND h.row_key > :after
         ORDER BY h.row_key
         LIMIT 1000) AS p;

-- name: delete_history
-- Of each row what was no longer so at :cutoff: what a later version replaced before, and deletions.
DELETE FROM sync_history AS h
 WHERE h.tenant_id = :tenant_id
   AND h.table_name = :table_name
   AND h.row_key > :after
   AND h.row_key <= :last
   AND h.committed_at_utc < :cutoff
   AND (h.operation = 'delete'
        OR EXISTS (SELECT 1
                     FROM sync_history AS l
                    WHERE l.tenant_id = h.tenant_id
                      AND l.table_name = h.table_name
                      AND l.row_key = h.row_key
                      AND l.version > h.version
                      AND l.committed_at_utc < :cutoff));
