-- History: the versions that rows have had.
--
-- Twins: the same names and parameters in each dialect. :table_name is a table's name in lower case.

-- name: state
-- Returns (history, history_first, history_from_utc).
SELECT t.history, t.history_first, t.history_from_utc
  FROM sync_tenant_table AS t
 WHERE t.tenant_id = :tenant_id
   AND t.name = :table_name;

-- name: begin
-- Of two sessions that find it new, one changes a row, and the other waits for it.
UPDATE sync_tenant_table
   SET history = 'on'
 WHERE tenant_id = :tenant_id
   AND name = :table_name
   AND history = 'new';

-- name: set_whole
-- It is whole from this time on, and in the versions from :first on.
UPDATE sync_tenant_table
   SET history_first = :first, history_from_utc = :from_utc
 WHERE tenant_id = :tenant_id
   AND name = :table_name;

-- name: stop
-- What is there stays.
UPDATE sync_tenant_table
   SET history = 'off'
 WHERE tenant_id = :tenant_id
   AND name = :table_name;

-- name: resume
UPDATE sync_tenant_table
   SET history = 'new'
 WHERE tenant_id = :tenant_id
   AND name = :table_name
   AND history = 'off';

-- name: last_id
SELECT max(h.id)
  FROM sync_history AS h
 WHERE h.tenant_id = :tenant_id
   AND h.table_name = :table_name;

-- name: device
-- Which device began a session.
SELECT s.device_id
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.session_id = :session_id;

-- name: add
-- Parameters by position, as history.py makes the versions.
INSERT INTO sync_history (tenant_id, table_name, row_key, session, operation, committed_at_utc,
                          modified_at_utc, user_id, modified_by_user_id, device_id, image)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: as_of
-- Of every row that was there at :at the version of then, from :first on.
SELECT h.row_key, h.session, h.operation, h.committed_at_utc, h.modified_at_utc, h.user_id,
       h.modified_by_user_id, h.device_id, h.image
  FROM sync_history AS h FORCE INDEX (ix_history_row)
 WHERE h.tenant_id = :tenant_id
   AND h.table_name = :table_name
   AND h.id >= :first
   AND h.committed_at_utc <= :at
   AND h.operation <> 'delete'
   AND NOT EXISTS (SELECT 1
                     FROM sync_history AS l FORCE INDEX (ix_history_row)
                    WHERE l.tenant_id = h.tenant_id
                      AND l.table_name = h.table_name
                      AND l.row_key = h.row_key
                      AND l.id > h.id
                      AND l.committed_at_utc <= :at)
 ORDER BY h.row_key;
