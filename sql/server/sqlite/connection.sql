-- What a connection of the embedded store is set to, its transactions, and the version of the
-- bookkeeping tables. This dialect's own.

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

-- name: cache_writer
-- 64 MiB of pages: what a commit of 100,000 rows and their versions changes.
PRAGMA cache_size = -65536;

-- name: cache_reader
-- 4 MiB of pages: a pull reads each row once.
PRAGMA cache_size = -4096;

-- name: read_version
PRAGMA user_version;

-- name: write_version
-- The number of the newest script in migrations/.
PRAGMA user_version = 6;

-- name: begin_write
BEGIN IMMEDIATE;

-- name: begin_read
BEGIN;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- name: checkpoint_at
-- Pages in the write-ahead log, 256 MiB of them, at which a commit itself has to empty it. The server
-- does so after each session, beside other work: a commit of 100,000 rows and their versions is not to
-- wait for that.
PRAGMA wal_autocheckpoint = 65536;

-- name: checkpoint
PRAGMA wal_checkpoint (PASSIVE);

-- name: temporary_cache
-- 16 MiB of pages for the rows of a session on their way from staging; more go to a file.
PRAGMA temp.cache_size = -16384;
