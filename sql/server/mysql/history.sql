-- History: the versions that rows have had.
--
-- Twins: the same names and parameters in each dialect. :table_name is a table's name in lower case.

-- name: state
-- Returns (history, history_begun_utc, history_pruned_utc).
SELECT t.history, t.history_begun_utc, w.history_pruned_utc
  FROM sync_tenant_table AS t
  JOIN sync_tenant AS w ON w.tenant_id = t.tenant_id
 WHERE t.tenant_id = :tenant_id
   AND t.name = :table_name;

-- name: begin
-- Of two sessions that find it new, one changes a row, and the other waits for it.
UPDATE sync_tenant_table
   SET history = 'on'
 WHERE tenant_id = :tenant_id
   AND name = :table_name
   AND history = 'new';

-- name: set_begun
UPDATE sync_tenant_table
   SET history_begun_utc = :begun_utc
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

-- name: is_there
-- Whether there is any version of the table's rows.
SELECT 1
  FROM sync_history AS h
 WHERE h.tenant_id = :tenant_id
   AND h.table_name = :table_name
 LIMIT 1;

-- name: device
-- Which device began a session.
SELECT s.device_id
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.session_id = :session_id;

-- name: add
-- Parameters by position, as history.py makes the versions.
INSERT INTO sync_history (tenant_id, table_name, row_key, version, session, operation, committed_at_utc,
                          modified_at_utc, user_id, modified_by_user_id, device_id, image)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: as_of
-- Of every row that was there at :at the version of then, of those since :begun_utc.
SELECT h.row_key, h.version, h.session, h.operation, h.committed_at_utc, h.modified_at_utc, h.user_id,
       h.modified_by_user_id, h.device_id, h.image
  FROM sync_history AS h
 WHERE h.tenant_id = :tenant_id
   AND h.table_name = :table_name
   AND h.committed_at_utc >= :begun_utc
   AND h.committed_at_utc <= :at
   AND h.operation <> 'delete'
   AND NOT EXISTS (SELECT 1
                     FROM sync_history AS l
                    WHERE l.tenant_id = h.tenant_id
                      AND l.table_name = h.table_name
                      AND l.row_key = h.row_key
                      AND l.version > h.version
                      AND l.committed_at_utc <= :at)
 ORDER BY h.row_key;

-- name: of_row
-- Every version of a row, the oldest first.
SELECT h.row_key, h.version, h.session, h.operation, h.committed_at_utc, h.modified_at_utc, h.user_id,
       h.modified_by_user_id, h.device_id, h.image
  FROM sync_history AS h
 WHERE h.tenant_id = :tenant_id
   AND h.table_name = :table_name
   AND h.row_key = :row_key
 ORDER BY h.version;

-- name: base
-- What a device had of a row that it has edited: what the session :session left of it, or a later one that
-- the device itself has pushed, and that stood as it was. Of one that was corrected elsewhere the device
-- does not know that yet.
SELECT h.row_key, h.version, h.session, h.operation, h.committed_at_utc, h.modified_at_utc, h.user_id,
       h.modified_by_user_id, h.device_id, h.image
  FROM sync_history AS h
 WHERE h.tenant_id = :tenant_id
   AND h.table_name = :table_name
   AND h.row_key = :row_key
   AND (h.session = :session
        OR (h.device_id = :device_id
            AND NOT EXISTS (SELECT 1
                              FROM sync_conflict AS c
                             WHERE c.tenant_id = h.tenant_id
                               AND c.number = h.session
                               AND c.table_name = h.table_name
                               AND c.key_hash = :key_hash
                               AND c.outcome <> 'mine')))
 ORDER BY h.version DESC
 LIMIT 1;

-- name: before
-- The version before :version of a row.
SELECT h.row_key, h.version, h.session, h.operation, h.committed_at_utc, h.modified_at_utc, h.user_id,
       h.modified_by_user_id, h.device_id, h.image
  FROM sync_history AS h
 WHERE h.tenant_id = :tenant_id
   AND h.table_name = :table_name
   AND h.row_key = :row_key
   AND h.version < :version
 ORDER BY h.version DESC
 LIMIT 1;

-- name: keys_of_hint
-- Of a table with local keys, the rows that came from a device with this integer. Reads all of the
-- table's history.
SELECT DISTINCT h.row_key
  FROM sync_history AS h
 WHERE h.tenant_id = :tenant_id
   AND h.table_name = :table_name
   AND json_extract(h.image, :path) = :hint
 ORDER BY h.row_key;

-- name: made
-- What a session left in a table. Reads all of the table's history.
SELECT h.row_key, h.version, h.session, h.operation, h.committed_at_utc, h.modified_at_utc, h.user_id,
       h.modified_by_user_id, h.device_id, h.image
  FROM sync_history AS h
 WHERE h.tenant_id = :tenant_id
   AND h.table_name = :table_name
   AND h.session = :session
   AND h.operation <> 'baseline'
 ORDER BY h.row_key;

-- name: status
-- Of a session by its number.
SELECT s.status
  FROM sync_session AS s
 WHERE s.tenant_id = :tenant_id
   AND s.number = :number;

-- name: set_rows
UPDATE sync_session
   SET count_rows = :count_rows
 WHERE tenant_id = :tenant_id
   AND session_id = :session_id;
