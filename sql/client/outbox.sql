-- The sidecar beside the application's file: what was sealed and not acknowledged, what was
-- downloaded and not applied. Losing it loses nothing: the rows are still dirty, the sessions
-- still unprocessed.

-- name: create_outgoing
CREATE TABLE IF NOT EXISTS outgoing (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    session_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    generation INTEGER NOT NULL
);

-- name: create_outgoing_batch
CREATE TABLE IF NOT EXISTS outgoing_batch (
    number INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL,
    count_rows INTEGER NOT NULL,
    payload BLOB,
    acknowledgements BLOB NOT NULL
);

-- name: create_incoming
CREATE TABLE IF NOT EXISTS incoming (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    pull_id TEXT NOT NULL,
    request BLOB NOT NULL,
    answer BLOB NOT NULL
);

-- name: create_incoming_batch
CREATE TABLE IF NOT EXISTS incoming_batch (
    number INTEGER PRIMARY KEY,
    encoding TEXT NOT NULL,
    data BLOB NOT NULL
);

-- name: insert_outgoing
INSERT INTO outgoing (id, session_id, device_id, generation)
VALUES (1, :session_id, :device_id, :generation);

-- name: insert_outgoing_batch
INSERT INTO outgoing_batch (number, table_name, count_rows, payload, acknowledgements)
VALUES (:number, :table_name, :count_rows, :payload, :acknowledgements);

-- name: read_outgoing
SELECT o.session_id, o.device_id, o.generation
  FROM outgoing AS o;

-- name: outgoing_tables
-- Returns (table_name, rows, batches) of what is to be sent, in batch order.
SELECT b.table_name, sum(b.count_rows), count(*)
  FROM outgoing_batch AS b
 WHERE b.payload IS NOT NULL
 GROUP BY b.table_name
 ORDER BY min(b.number);

-- name: outgoing_numbers
SELECT b.number, b.table_name, b.count_rows
  FROM outgoing_batch AS b
 WHERE b.payload IS NOT NULL
 ORDER BY b.number;

-- name: outgoing_payload
SELECT b.payload
  FROM outgoing_batch AS b
 WHERE b.number = :number;

-- name: outgoing_acknowledgements
-- Returns (table_name, is_sent, acknowledgements).
SELECT b.table_name, b.payload IS NOT NULL, b.acknowledgements
  FROM outgoing_batch AS b
 ORDER BY b.number;

-- name: delete_outgoing
DELETE FROM outgoing;

-- name: delete_outgoing_batches
DELETE FROM outgoing_batch;

-- name: insert_incoming
INSERT INTO incoming (id, pull_id, request, answer)
VALUES (1, :pull_id, :request, :answer);

-- name: read_incoming
SELECT i.pull_id, i.request, i.answer
  FROM incoming AS i;

-- name: insert_incoming_batch
INSERT INTO incoming_batch (number, encoding, data)
VALUES (:number, :encoding, :data);

-- name: incoming_numbers
SELECT b.number
  FROM incoming_batch AS b
 ORDER BY b.number;

-- name: incoming_payload
SELECT b.encoding, b.data
  FROM incoming_batch AS b
 WHERE b.number = :number;

-- name: delete_incoming
DELETE FROM incoming;

-- name: delete_incoming_batches
DELETE FROM incoming_batch;

-- name: shrink
VACUUM;

-- name: write_ahead
PRAGMA journal_mode = WAL;

-- name: be_durable
-- What is sealed survives a power cut before its first byte leaves.
PRAGMA synchronous = FULL;

-- name: be_fast
-- What is downloaded can be downloaded again; a power cut may take it, and breaks nothing.
PRAGMA synchronous = NORMAL;

-- name: defer_busy
PRAGMA busy_timeout = 2000;

-- name: lock
-- Held from the first write until the sidecar is closed: one process syncs a file at a time.
PRAGMA locking_mode = EXCLUSIVE;

-- name: begin
BEGIN IMMEDIATE;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;
