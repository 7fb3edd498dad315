-- Conflicts: the policy of each table, and what was decided of rows that met another version.
--
-- Twins: the same names and parameters in each dialect. :table_name is in lower case.

-- name: find_policy
SELECT p.policy
  FROM sync_policy AS p
 WHERE p.table_name = :table_name;

-- name: list_policies
-- Returns (table_name, policy).
SELECT convert(p.table_name USING utf8mb4), p.policy
  FROM sync_policy AS p
 ORDER BY p.table_name;

-- name: set_policy
INSERT INTO sync_policy (table_name, policy)
VALUES (:table_name, :policy)
ON DUPLICATE KEY UPDATE policy = VALUES(policy);

-- name: delete_policy
DELETE FROM sync_policy
 WHERE table_name = :table_name;

-- name: find_session
-- Who pushed a session, and when it ended.
SELECT s.device_id, s.user_id, s.changed_at_utc, s.is_corrected
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.number = :number;

-- name: find_corrected
-- What the session :number left of a row that is not as it was pushed, and whose version that was before.
SELECT c.outcome, c.theirs_device_id, c.theirs_user_id
  FROM sync_conflict AS c
 WHERE c.tenant_id = :tenant_id
   AND c.number = :number
   AND c.table_name = :table_name
   AND c.key_hash = :key_hash
   AND c.outcome <> 'mine'
 ORDER BY c.step
 LIMIT 1;

-- name: add
-- Of a session that brings one row twice, which no device of ours does, the first time.
INSERT INTO sync_conflict (tenant_id, number, table_name, key_hash, step, row_key, kind, policy, outcome, note,
    mine, mine_user_id, mine_by, mine_at_utc, mine_device_id,
    theirs, theirs_user_id, theirs_by, theirs_at_utc, theirs_device_id, theirs_number,
    loser_device_id, created_at_utc)
VALUES (:tenant_id, :number, :table_name, :key_hash, :step, :row_key, :kind, :policy, :outcome, :note,
    :mine, :mine_user_id, :mine_by, :mine_at_utc, :mine_device_id,
    :theirs, :theirs_user_id, :theirs_by, :theirs_at_utc, :theirs_device_id, :theirs_number,
    :loser_device_id, :created_at_utc)
ON DUPLICATE KEY UPDATE number = number;

-- name: forget
-- Of a decision that another one of the same session has undone.
DELETE FROM sync_conflict
 WHERE tenant_id = :tenant_id
   AND number = :number
   AND table_name = :table_name
   AND key_hash = :key_hash
   AND step = :step;

-- name: has_lost
-- Returns one row when a device lost any. Index: ix_conflict_loser.
SELECT 1
  FROM sync_conflict AS c
 WHERE c.tenant_id = :tenant_id
   AND c.loser_device_id = :device_id
   AND c.number > :after
 LIMIT 1;

-- name: select_lost
-- Versions of a table's rows that a device lost in the sessions :first to :last.
SELECT c.number, CASE c.outcome WHEN 'theirs' THEN c.mine_at_utc ELSE c.theirs_at_utc END,
       CASE c.outcome WHEN 'theirs' THEN c.mine_by ELSE c.theirs_by END, 0,
       c.row_key, CASE c.outcome WHEN 'theirs' THEN c.mine ELSE c.theirs END, c.kind, c.policy, c.outcome,
       CASE c.outcome WHEN 'theirs' THEN c.theirs_by ELSE c.mine_by END, c.created_at_utc
  FROM sync_conflict AS c
 WHERE c.tenant_id = :tenant_id
   AND c.loser_device_id = :device_id
   AND c.table_name = :table_name
   AND c.number BETWEEN :first AND :last
 ORDER BY c.number, c.key_hash, c.step;

-- name: list_conflicts
-- The newest :most of a tenant, newest first.
SELECT c.number, convert(c.table_name USING utf8mb4), c.row_key, c.kind, c.policy, c.outcome, c.note, c.mine,
       c.mine_user_id, c.mine_by, c.mine_at_utc, c.mine_device_id, c.theirs, c.theirs_user_id, c.theirs_by, c.theirs_at_utc,
       c.theirs_device_id, c.theirs_number, c.created_at_utc
  FROM sync_conflict AS c
 WHERE c.tenant_id = :tenant_id
 ORDER BY c.number DESC, c.table_name, c.key_hash, c.step
 LIMIT :most;
