-- What the application's database holds.

-- name: objects
-- Everything but SQLite's own tables. Returns (type, name, table, sql), in order of creation; the
-- type of a virtual table is `virtual`, that of a table which it keeps its content in `shadow`. The list
-- of tables is read once: for each row it would look at every view again.
WITH l AS MATERIALIZED (
    SELECT p.name, p.type FROM pragma_table_list AS p WHERE p.schema = 'main'
)
SELECT iif(l.type IN ('virtual', 'shadow'), l.type, m.type), m.name, m.tbl_name, m.sql
  FROM sqlite_master AS m
  LEFT JOIN l ON l.name = m.name
 WHERE m.name NOT LIKE 'sqlite\_%' ESCAPE '\'
   AND m.sql IS NOT NULL
 ORDER BY m.rowid;

-- name: schema_version
-- Changes with every change of the schema, whoever makes it.
PRAGMA schema_version;

-- name: data_version
-- Changes with every commit of another connection, and with none of this one.
PRAGMA data_version;

-- name: has_table
-- Returns one row when :name is a table.
SELECT 1
  FROM sqlite_master AS m
 WHERE m.type = 'table'
   AND m.name = :name;

-- name: defer_busy
-- Milliseconds to wait for another program's lock.
PRAGMA busy_timeout = 10000;

-- name: never_wait
-- For a look at the file that can as well be taken a moment later.
PRAGMA busy_timeout = 0;

-- name: ignore_foreign_keys
-- Applying checks references itself, for the rows that it writes.
PRAGMA foreign_keys = OFF;

-- name: cache
-- 32 MiB of pages: folding and applying touch a table in key order.
PRAGMA cache_size = -32768;

-- name: temporary_cache
-- 16 MiB of pages for rows on their way into the application's tables; more go to a file.
PRAGMA temp.cache_size = -16384;

-- name: trust_the_process
-- For a file that is thrown away unless it is finished: nothing waits for the disk until then.
PRAGMA synchronous = OFF;

-- name: journal_in_memory
PRAGMA journal_mode = MEMORY;

-- name: only_read
-- Whatever would write is refused.
PRAGMA query_only = ON;

-- name: begin_write
BEGIN IMMEDIATE;

-- name: begin_read
BEGIN;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;
