-- What a connection to MySQL 8.0 or MariaDB 10.5 is set to, its transactions, and the version of the
-- bookkeeping tables. This dialect's own.

-- name: mode
-- Double quotes for identifiers, as in the embedded store; a value that does not fit is an error.
SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION';

-- name: isolation
-- Writers see what is committed, and lock no gaps; what must not change is guarded by its WHERE.
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;

-- name: patience
-- Seconds to wait for the lock of a row, and of a table that is being altered; for a reader that is
-- slow to take a large result; and for the next statement. The last is for processes that are stopped
-- or cut off in a transaction: the database lets go of it and of its locks.
SET SESSION innodb_lock_wait_timeout = :lock_seconds, lock_wait_timeout = :lock_seconds,
            net_write_timeout = :read_seconds, wait_timeout = :silence_seconds;

-- name: abilities
-- Returns (version, whether LOAD DATA LOCAL is allowed, the most bytes of a statement).
SELECT @@version, @@local_infile, @@max_allowed_packet;

-- name: create_probe
-- Whether the user may make temporary tables. It ends with its connection, or with the next probe.
CREATE TEMPORARY TABLE IF NOT EXISTS sync_probe (id TINYINT) ENGINE = InnoDB;

-- name: begin_write
START TRANSACTION;

-- name: isolate_read
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- name: begin_read
START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- name: create_schema_table
-- version: the newest script in migrations/ that has run. One process at a time runs them.
CREATE TABLE IF NOT EXISTS sync_schema (
    id TINYINT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    worker_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin,
    alive_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin
) ENGINE = InnoDB;

-- name: create_version
INSERT INTO sync_schema (id, version)
VALUES (1, 0)
ON DUPLICATE KEY UPDATE id = id;

-- name: schema_here
SELECT count(*)
  FROM information_schema.tables
 WHERE table_schema = database()
   AND table_name = 'sync_schema';

-- name: read_version
SELECT s.version
  FROM sync_schema AS s
 WHERE s.id = 1;

-- name: claim_migration
-- Of all processes that try, one changes a row.
UPDATE sync_schema
   SET worker_id = :worker_id, alive_at_utc = :now
 WHERE id = 1
   AND version = :version
   AND (worker_id IS NULL OR alive_at_utc < :cutoff);

-- name: keep_migration
-- The process that migrates is still there.
UPDATE sync_schema
   SET alive_at_utc = :now
 WHERE id = 1
   AND worker_id = :worker_id;

-- name: has_claim
SELECT s.worker_id
  FROM sync_schema AS s
 WHERE s.id = 1
   AND s.worker_id = :worker_id;

-- name: advance
UPDATE sync_schema
   SET version = version + 1, alive_at_utc = :now
 WHERE id = 1
   AND version = :version
   AND worker_id = :worker_id;

-- name: release_migration
UPDATE sync_schema
   SET worker_id = NULL
 WHERE id = 1
   AND worker_id = :worker_id;
