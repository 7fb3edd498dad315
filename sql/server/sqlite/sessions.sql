-- Push sessions: where each stands, and its staged batches. Transitions are guarded by the status
-- that they start from; the number of changed rows tells whether they took place.
--
-- Twins: the same names and parameters in each dialect. Times are parameters.

-- name: next_number
UPDATE sync_tenant
   SET last_number = last_number + 1
 WHERE tenant_id = :tenant_id;

-- name: last_number
SELECT t.last_number, t.horizon
  FROM sync_tenant AS t
 WHERE t.tenant_id = :tenant_id;

-- name: open
INSERT INTO sync_session (tenant_id, session_id, number, device_id, user_id, status, count_batches,
                          count_rows, created_at_utc, changed_at_utc, alive_at_utc)
VALUES (:tenant_id, :session_id, :number, :device_id, :user_id, 'open', :count_batches,
        :count_rows, :now, :now, :now);

-- name: find
SELECT s.number, s.user_id, s.status, s.count_batches, s.is_corrected, s.error, s.alive_at_utc,
       s.worker_id, s.device_id
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.session_id = :session_id;

-- name: last_of_device
-- The newest session of a device that is committed. One that was corrected does not count: its device
-- has not processed it before it pulls. Index: ix_session_device.
SELECT s.number
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.device_id = :device_id
   AND s.status = 'committed'
   AND s.is_corrected = 0
 ORDER BY s.number DESC
 LIMIT 1;

-- name: live_numbers
-- Sessions that have not ended. Index: ix_session_live.
SELECT s.number
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.status IN ('open', 'staged', 'queued', 'processing')
 ORDER BY s.number;

-- name: to_staged
UPDATE sync_session
   SET status = 'staged', changed_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'open'
   AND count_batches = (SELECT count(*)
                          FROM sync_staging AS b
                         WHERE b.tenant_id = :tenant_id
                           AND b.session_id = :session_id);

-- name: to_queued
UPDATE sync_session
   SET status = 'queued', changed_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'staged';

-- name: to_processing
-- The claim: of all processes that try, one changes a row.
UPDATE sync_session
   SET status = 'processing', worker_id = :worker_id, changed_at_utc = :now, alive_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'queued';

-- name: to_committed
UPDATE sync_session
   SET status = 'committed', is_corrected = :is_corrected, changed_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'processing'
   AND worker_id = :worker_id;

-- name: to_failed
UPDATE sync_session
   SET status = 'failed', error = :error, changed_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'processing'
   AND worker_id = :worker_id;

-- name: to_expired
-- A device that has just given a sign of life keeps its session.
UPDATE sync_session
   SET status = 'expired', changed_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status IN ('open', 'staged')
   AND alive_at_utc < :cutoff;

-- name: keep_open
-- The device is still there.
UPDATE sync_session
   SET alive_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status IN ('open', 'staged');

-- name: keep_claim
-- The process that commits it is still there.
UPDATE sync_session
   SET alive_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'processing'
   AND worker_id = :worker_id;

-- name: requeue
-- Its process gives a session back. It comes last: what cannot be committed now is in nobody's way.
UPDATE sync_session
   SET status = 'queued', worker_id = NULL, changed_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'processing'
   AND worker_id = :worker_id;

-- name: abandoned
-- A session whose process has given no sign of life. Returns (tenant_id, session_id).
SELECT s.tenant_id, s.session_id
  FROM sync_session AS s
 WHERE s.status = 'processing'
   AND s.alive_at_utc < :cutoff
 LIMIT 1;

-- name: requeue_abandoned
-- Nothing of it was applied. By its key: an UPDATE of all that are abandoned would lock the index
-- first and rows after, and the commits of others lock them the other way round.
UPDATE sync_session
   SET status = 'queued', worker_id = NULL
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'processing'
   AND alive_at_utc < :cutoff;

-- name: requeue_worker
-- Sessions of a process that is known to be gone.
UPDATE sync_session
   SET status = 'queued', worker_id = NULL
 WHERE status = 'processing'
   AND worker_id = :worker_id;

-- name: oldest_queued
SELECT s.tenant_id, s.session_id
  FROM sync_session AS s
 WHERE s.status = 'queued'
 ORDER BY s.changed_at_utc
 LIMIT 1;

-- name: add_batch
-- While the session is open, and the batch not here.
INSERT INTO sync_staging (tenant_id, session_id, number, table_name, count_rows, encoding, payload)
SELECT :tenant_id, :session_id, :number, :table_name, :count_rows, :encoding, :payload
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.session_id = :session_id
   AND s.status = 'open'
ON CONFLICT (tenant_id, session_id, number) DO NOTHING;

-- name: batch_numbers
SELECT b.number
  FROM sync_staging AS b
 WHERE b.tenant_id = :tenant_id
   AND b.session_id = :session_id
 ORDER BY b.number;

-- name: staged_rows
-- (table_name, rows) of what is staged.
SELECT b.table_name, sum(b.count_rows)
  FROM sync_staging AS b
 WHERE b.tenant_id = :tenant_id
   AND b.session_id = :session_id
 GROUP BY b.table_name;

-- name: next_batches
-- A few at a time, in order.
SELECT b.number, b.encoding, b.payload
  FROM sync_staging AS b
 WHERE b.tenant_id = :tenant_id
   AND b.session_id = :session_id
   AND b.number > :after
 ORDER BY b.number
 LIMIT 16;

-- name: delete_batches
DELETE FROM sync_staging
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id;

-- name: outcome
SELECT s.status, s.count_rows
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.session_id = :session_id;

-- name: count_live
-- Of all tenants: open, staged, queued, processing. Index: ix_session_live.
SELECT count(CASE WHEN s.status = 'open' THEN 1 END),
       count(CASE WHEN s.status = 'staged' THEN 1 END),
       count(CASE WHEN s.status = 'queued' THEN 1 END),
       count(CASE WHEN s.status = 'processing' THEN 1 END)
  FROM sync_session AS s
 WHERE s.status IN ('open', 'staged', 'queued', 'processing');

-- name: count_ended
-- Of all tenants: committed, failed, expired. Reads every session.
SELECT count(CASE WHEN s.status = 'committed' THEN 1 END),
       count(CASE WHEN s.status = 'failed' THEN 1 END),
       count(CASE WHEN s.status = 'expired' THEN 1 END)
  FROM sync_session AS s;
