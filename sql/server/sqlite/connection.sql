-- What a connection of the embedded store is set to, and its transactions.

-- name: write_ahead
PRAGMA journal_mode = WAL;

-- name: synchronous_full
-- In WAL mode: a commit that was answered survives a power cut.
PRAGMA synchronous = FULL;

-- name: synchronous_normal
-- A commit may be gone after a power cut, unless one with FULL came later; nothing is half there.
PRAGMA synchronous = NORMAL;

-- name: defer_busy
-- Milliseconds to wait for another process's lock.
PRAGMA busy_timeout = 30000;

-- name: cache
-- 64 MiB of pages.
PRAGMA cache_size = -65536;

-- name: read_version
PRAGMA user_version;

-- name: write_version
PRAGMA user_version = 1;

-- name: begin_write
BEGIN IMMEDIATE;

-- name: begin_read
BEGIN;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;
