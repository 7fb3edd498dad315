-- The bookkeeping tables, as they began. Application tables are made by build.sql.j2, as devices
-- describe them.

-- name: create_tenant
-- last_number: the newest session number given out; numbers are dense per tenant.
CREATE TABLE IF NOT EXISTS sync_tenant (
    tenant_id TEXT PRIMARY KEY,
    last_number INTEGER NOT NULL DEFAULT 0,
    created_at_utc TEXT NOT NULL
) WITHOUT ROWID;

-- name: create_token
CREATE TABLE IF NOT EXISTS sync_token (
    token_hash BLOB PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    user_id TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at_utc TEXT NOT NULL
) WITHOUT ROWID;

-- name: create_device
CREATE TABLE IF NOT EXISTS sync_device (
    device_id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    user_id TEXT NOT NULL,
    created_at_utc TEXT NOT NULL
) WITHOUT ROWID;

-- name: create_table
-- definition: the union of what all tenants described; the real table has these columns.
CREATE TABLE IF NOT EXISTS sync_table (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    definition TEXT NOT NULL
) WITHOUT ROWID;

-- name: create_tenant_table
-- definition: as a device of the tenant has it, with the SQL that makes it on a new one; known: the
-- columns of all its devices; introduced: which device brought a column that came later.
CREATE TABLE IF NOT EXISTS sync_tenant_table (
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    name TEXT NOT NULL COLLATE NOCASE,
    position INTEGER NOT NULL,
    definition TEXT NOT NULL,
    known TEXT NOT NULL,
    introduced TEXT NOT NULL,
    PRIMARY KEY (tenant_id, name)
) WITHOUT ROWID;

-- name: create_session
CREATE TABLE IF NOT EXISTS sync_session (
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    session_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    device_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    status TEXT NOT NULL,
    count_batches INTEGER NOT NULL,
    count_rows INTEGER NOT NULL,
    is_corrected INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    created_at_utc TEXT NOT NULL,
    changed_at_utc TEXT NOT NULL,
    PRIMARY KEY (tenant_id, session_id)
) WITHOUT ROWID;

-- name: create_session_number
CREATE UNIQUE INDEX IF NOT EXISTS ix_session_number ON sync_session (tenant_id, number);

-- name: create_session_live
CREATE INDEX IF NOT EXISTS ix_session_live ON sync_session (tenant_id, number)
 WHERE status IN ('open', 'staged', 'queued', 'processing');

-- name: create_session_queue
CREATE INDEX IF NOT EXISTS ix_session_queue ON sync_session (changed_at_utc)
 WHERE status IN ('queued', 'processing');

-- name: create_staging
-- The batches of sessions that are not committed yet, as the devices sent them.
CREATE TABLE IF NOT EXISTS sync_staging (
    tenant_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    count_rows INTEGER NOT NULL,
    encoding TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (tenant_id, session_id, number)
);

-- name: create_pull
CREATE TABLE IF NOT EXISTS sync_pull (
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    pull_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    answer TEXT NOT NULL,
    created_at_utc TEXT NOT NULL,
    PRIMARY KEY (tenant_id, pull_id)
) WITHOUT ROWID;

-- name: create_pull_batch
-- One snapshot, encoded once, that any request can serve.
CREATE TABLE IF NOT EXISTS sync_pull_batch (
    tenant_id TEXT NOT NULL,
    pull_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (tenant_id, pull_id, number)
);
