-- Push sessions: where each stands, and its staged batches. Transitions are guarded by the status
-- that they start from; the number of changed rows tells whether they took place.

-- name: next_number
UPDATE sync_tenant
   SET last_number = last_number + 1
 WHERE tenant_id = :tenant_id;

-- name: last_number
SELECT t.last_number
  FROM sync_tenant AS t
 WHERE t.tenant_id = :tenant_id;

-- name: open
INSERT INTO sync_session (tenant_id, session_id, number, device_id, user_id, status, count_batches,
                          count_rows, created_at_utc, changed_at_utc)
VALUES (:tenant_id, :session_id, :number, :device_id, :user_id, 'open', :count_batches,
        :count_rows, :now, :now);

-- name: find
SELECT s.number, s.device_id, s.user_id, s.status, s.count_batches, s.is_corrected, s.error
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.session_id = :session_id;

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
UPDATE sync_session
   SET status = 'processing', changed_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'queued';

-- name: to_committed
UPDATE sync_session
   SET status = 'committed', is_corrected = :is_corrected, changed_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'processing';

-- name: to_failed
UPDATE sync_session
   SET status = 'failed', error = :error, changed_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'processing';

-- name: requeue
-- What a stopped server was committing when it stopped: nothing of it was applied.
UPDATE sync_session
   SET status = 'queued', changed_at_utc = :now
 WHERE status = 'processing';

-- name: requeue_one
UPDATE sync_session
   SET status = 'queued', changed_at_utc = :now
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id
   AND status = 'processing';

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
