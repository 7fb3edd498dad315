-- What a device knows about itself: one row of state, its tables, its processed sets.
-- Stored in the application's file, so nothing here is newer than SQLite 3.30.

-- name: create_state
CREATE TABLE _syncsession_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    device_id TEXT NOT NULL,
    tenant_id TEXT,
    user_id TEXT,
    server_url TEXT NOT NULL,
    generation INTEGER NOT NULL DEFAULT 1,
    is_suppressed INTEGER NOT NULL DEFAULT 0,
    schema_version INTEGER,
    is_registered INTEGER NOT NULL DEFAULT 0,
    sealed_session_id TEXT,
    checked_generation INTEGER NOT NULL DEFAULT 0,
    left_out TEXT NOT NULL DEFAULT '[]',
    copied_from TEXT,
    corrected_session INTEGER
);

-- name: create_tables
CREATE TABLE _syncsession_tables (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    position INTEGER NOT NULL,
    prefix TEXT NOT NULL,
    definition TEXT NOT NULL,
    added TEXT NOT NULL,
    is_anew INTEGER NOT NULL,
    doubted TEXT NOT NULL,
    is_missing INTEGER NOT NULL,
    sent_name TEXT NOT NULL,
    sent_key TEXT NOT NULL
);

-- name: create_processed
CREATE TABLE _syncsession_processed (
    table_name TEXT NOT NULL COLLATE NOCASE,
    first_number INTEGER NOT NULL,
    last_number INTEGER NOT NULL,
    PRIMARY KEY (table_name, first_number)
);

-- name: create_conflicts
-- Versions of rows that lost. "row": JSON, the key and the values; a BLOB is {"blob": "00ff"}. kind:
-- what was done on the side that came later to the server, and on the other. outcome: which stands.
CREATE TABLE _syncsession_conflicts (
    id INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL COLLATE NOCASE,
    "row" TEXT NOT NULL,
    is_deleted INTEGER NOT NULL,
    modified_at_utc TEXT,
    modified_by_user_id TEXT,
    kind TEXT NOT NULL,
    policy TEXT NOT NULL,
    outcome TEXT NOT NULL,
    won_by_user_id TEXT,
    won_session INTEGER NOT NULL,
    lost_at_utc TEXT NOT NULL,
    restored_at_utc TEXT
);

-- name: create_rejects
-- Rows that stay here: the server refused them, or they reference one that it refused and has never had.
-- row_key: JSON, the key here. "identity" names the shadow row: quote() of its identity's columns, with
-- commas between. is_waiting: 1 where the row goes by itself once what it references is there.
CREATE TABLE _syncsession_rejects (
    id INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL COLLATE NOCASE,
    row_key TEXT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    waits_for INTEGER,
    is_waiting INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL,
    "identity" TEXT NOT NULL,
    rejected_at_utc TEXT NOT NULL,
    UNIQUE (table_name, "identity")
);

-- name: drop_rejects
DROP TABLE _syncsession_rejects;

-- name: has_rejects
SELECT 1 FROM _syncsession_rejects LIMIT 1;

-- name: count_rejects
SELECT count(*) FROM _syncsession_rejects;

-- name: now
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now');

-- name: count_refused_since
-- :since as `now` tells it.
SELECT count(*)
  FROM _syncsession_rejects AS j
 WHERE j.code <> 'depends_on_rejected'
   AND j.rejected_at_utc >= :since;

-- name: list_rejects
SELECT j.id, j.table_name, j.row_key, j.code, j.message, j.waits_for, j.rejected_at_utc
  FROM _syncsession_rejects AS j
 ORDER BY j.id;

-- name: tables_with_rejects
SELECT DISTINCT j.table_name FROM _syncsession_rejects AS j;

-- name: doubt_waiting
-- No fold has the number 0: those that still have it in the end wait no more.
UPDATE _syncsession_rejects
   SET generation = 0, waits_for = NULL
 WHERE is_waiting = 1;

-- name: forget_released
DELETE FROM _syncsession_rejects
 WHERE is_waiting = 1
   AND generation = 0;

-- name: forget_reject
DELETE FROM _syncsession_rejects
 WHERE id = :id;

-- name: forget_rejects
DELETE FROM _syncsession_rejects;

-- name: forget_rejects_of
DELETE FROM _syncsession_rejects
 WHERE table_name = :table_name;

-- name: forget_rejects_of_missing
DELETE FROM _syncsession_rejects
 WHERE table_name NOT IN (SELECT t.name FROM _syncsession_tables AS t WHERE t.is_missing = 0);

-- name: drop_conflicts
DROP TABLE _syncsession_conflicts;

-- name: add_conflict
INSERT INTO _syncsession_conflicts (table_name, "row", is_deleted, modified_at_utc, modified_by_user_id,
    kind, policy, outcome, won_by_user_id, won_session, lost_at_utc)
VALUES (:table_name, :row, :is_deleted, :modified_at_utc, :modified_by_user_id,
    :kind, :policy, :outcome, :won_by_user_id, :won_session,
    coalesce(:lost_at_utc, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')));

-- name: count_conflicts
SELECT count(*) FROM _syncsession_conflicts WHERE restored_at_utc IS NULL;

-- name: list_conflicts
SELECT c.id, c.table_name, c."row", c.is_deleted, c.modified_at_utc, c.modified_by_user_id, c.kind,
       c.policy, c.outcome, c.won_by_user_id, c.won_session, c.lost_at_utc
  FROM _syncsession_conflicts AS c
 WHERE c.restored_at_utc IS NULL
 ORDER BY c.id;

-- name: find_conflict
SELECT c.id, c.table_name, c."row", c.is_deleted, c.modified_at_utc, c.modified_by_user_id, c.kind,
       c.policy, c.outcome, c.won_by_user_id, c.won_session, c.lost_at_utc
  FROM _syncsession_conflicts AS c
 WHERE c.id = :id
   AND c.restored_at_utc IS NULL;

-- name: set_restored
UPDATE _syncsession_conflicts
   SET restored_at_utc = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
 WHERE id = :id;

-- name: drop_state
DROP TABLE _syncsession_state;

-- name: drop_tables
DROP TABLE _syncsession_tables;

-- name: drop_processed
DROP TABLE _syncsession_processed;

-- name: insert_state
INSERT INTO _syncsession_state (id, device_id, user_id, server_url)
VALUES (1, :device_id, :user_id, :server_url);

-- name: read_state
SELECT s.device_id, s.tenant_id, s.user_id, s.server_url, s.generation, s.schema_version,
       s.is_registered, s.sealed_session_id, s.checked_generation, s.copied_from, s.corrected_session
  FROM _syncsession_state AS s
 WHERE s.id = 1;

-- name: become
-- A copy of another device's file is a device of its own.
UPDATE _syncsession_state
   SET copied_from = device_id, device_id = :device_id
 WHERE id = 1;

-- name: bind_tenant
UPDATE _syncsession_state
   SET tenant_id = :tenant_id
 WHERE id = 1
   AND tenant_id IS NULL;

-- name: set_user
UPDATE _syncsession_state
   SET user_id = :user_id
 WHERE id = 1;

-- name: set_server
UPDATE _syncsession_state
   SET server_url = :server_url
 WHERE id = 1;

-- name: set_generation
UPDATE _syncsession_state
   SET generation = :generation
 WHERE id = 1;

-- name: set_schema_version
UPDATE _syncsession_state
   SET schema_version = :schema_version
 WHERE id = 1;

-- name: set_registered
UPDATE _syncsession_state
   SET is_registered = :is_registered
 WHERE id = 1;

-- name: set_sealed
-- The session that may be at the server already, until it is acknowledged.
UPDATE _syncsession_state
   SET sealed_session_id = :session_id
 WHERE id = 1;

-- name: set_corrected
-- The session that the server changed something in, until a pull has brought it.
UPDATE _syncsession_state
   SET corrected_session = :session
 WHERE id = 1;

-- name: set_checked
-- Row counts were compared after this fold.
UPDATE _syncsession_state
   SET checked_generation = :generation
 WHERE id = 1;

-- name: suppress
-- Set and cleared inside the applying transaction, so no other connection ever sees it set.
UPDATE _syncsession_state
   SET is_suppressed = :is_suppressed
 WHERE id = 1;

-- name: set_left_out
-- JSON: the tables of the application that were left out on purpose.
UPDATE _syncsession_state
   SET left_out = :left_out
 WHERE id = 1;

-- name: read_left_out
SELECT s.left_out
  FROM _syncsession_state AS s
 WHERE s.id = 1;

-- name: list_tables
-- Returns every table that is synced, parents before children. `added`: columns that came since the
-- server was told of the table; `is_anew`: the next pull is to bring every row again; `doubted`:
-- columns in which it is to find rows that were changed while no trigger saw it.
SELECT t.definition, t.prefix, t.added, t.is_anew, t.doubted, t.is_missing, t.sent_name, t.sent_key
  FROM _syncsession_tables AS t
 ORDER BY t.position;

-- name: delete_tables
DELETE FROM _syncsession_tables;

-- name: insert_table
INSERT INTO _syncsession_tables (name, position, prefix, definition, added, is_anew, doubted, is_missing,
    sent_name, sent_key)
VALUES (:name, :position, :prefix, :definition, :added, :is_anew, :doubted, :is_missing, :sent_name, :sent_key);

-- name: set_added
UPDATE _syncsession_tables
   SET added = :added
 WHERE name = :name;

-- name: be_anew
UPDATE _syncsession_tables
   SET is_anew = 1, doubted = :doubted
 WHERE name = :name;

-- name: be_settled
UPDATE _syncsession_tables
   SET is_anew = 0, doubted = '[]'
 WHERE is_missing = 0;

-- name: list_processed
-- Returns (table_name, first_number, last_number).
SELECT p.table_name, p.first_number, p.last_number
  FROM _syncsession_processed AS p
 ORDER BY p.table_name, p.first_number;

-- name: delete_processed
DELETE FROM _syncsession_processed
 WHERE table_name = :table_name;

-- name: insert_processed
INSERT INTO _syncsession_processed (table_name, first_number, last_number)
VALUES (:table_name, :first_number, :last_number);
