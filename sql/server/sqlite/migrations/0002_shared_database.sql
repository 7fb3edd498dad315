-- What several server processes and long lives need: signs of life, claims, a horizon, spools.

-- name: session_alive
-- alive_at_utc: the last sign of life, of the device while it sends, of the server's process while
-- it commits.
ALTER TABLE sync_session ADD COLUMN alive_at_utc TEXT NOT NULL DEFAULT '';

-- name: session_worker
-- worker_id: which process has claimed the session, to commit it.
ALTER TABLE sync_session ADD COLUMN worker_id TEXT;

-- name: fill_alive
UPDATE sync_session
   SET alive_at_utc = changed_at_utc;

-- name: tenant_horizon
-- Sessions up to horizon are forgotten, their tombstones too: a device that lacks one of them has
-- to begin anew.
ALTER TABLE sync_tenant ADD COLUMN horizon INTEGER NOT NULL DEFAULT 0;

-- name: tenant_purged
-- purged: up to where the tombstones are gone by now.
ALTER TABLE sync_tenant ADD COLUMN purged INTEGER NOT NULL DEFAULT 0;

-- name: table_built
-- built: the definition that the real table has been given; behind `definition` while it is altered.
ALTER TABLE sync_table ADD COLUMN built TEXT NOT NULL DEFAULT '';

-- name: fill_built
UPDATE sync_table
   SET built = definition;

-- name: drop_session_queue
DROP INDEX ix_session_queue;

-- name: create_session_queue
CREATE INDEX ix_session_queue ON sync_session (status, changed_at_utc)
 WHERE status IN ('open', 'staged', 'queued', 'processing');

-- name: drop_pull
-- Spools last minutes; a device begins another pull.
DROP TABLE sync_pull;

-- name: drop_pull_batch
DROP TABLE sync_pull_batch;

-- name: create_pull
-- spool_id: the batches; two requests that begin one pull at the same time make two, and one stays.
CREATE TABLE sync_pull (
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    pull_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    spool_id TEXT NOT NULL,
    answer TEXT NOT NULL,
    alive_at_utc TEXT NOT NULL,
    PRIMARY KEY (tenant_id, pull_id)
) WITHOUT ROWID;

-- name: create_pull_spool
CREATE INDEX ix_pull_spool ON sync_pull (spool_id);

-- name: create_pull_batch
CREATE TABLE sync_pull_batch (
    spool_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    payload BLOB NOT NULL,
    created_at_utc TEXT NOT NULL,
    PRIMARY KEY (spool_id, number)
);
