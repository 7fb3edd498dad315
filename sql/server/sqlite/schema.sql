-- The whole bookkeeping schema as it is now, to be read: migrations/ is what makes it, and a test says
-- that both come to the same. Application tables: build.sql.j2.
--
-- Twins: the same tables and columns in each dialect, but for mysql's sync_schema. Times are text in
-- UTC, and end in _at_utc.

-- name: create_tenant
-- last_number: the newest session number given out; numbers are dense per tenant. Sessions up to
-- horizon are forgotten, their tombstones too: a device that lacks one of them has to begin anew.
-- purged: up to where the tombstones are gone by now.
-- history_pruned_utc: of what was so before, history may lack versions.
CREATE TABLE sync_tenant (
    tenant_id TEXT PRIMARY KEY,
    last_number INTEGER NOT NULL DEFAULT 0,
    created_at_utc TEXT NOT NULL,
    horizon INTEGER NOT NULL DEFAULT 0,
    purged INTEGER NOT NULL DEFAULT 0,
    history_pruned_utc TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- name: create_token
CREATE TABLE sync_token (
    token_hash BLOB PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    user_id TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at_utc TEXT NOT NULL
) WITHOUT ROWID;

-- name: create_device
CREATE TABLE sync_device (
    device_id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    user_id TEXT NOT NULL,
    created_at_utc TEXT NOT NULL
) WITHOUT ROWID;

-- name: create_table
-- definition: the union of what all tenants described. built: the definition that the real table has
-- been given; behind `definition` while it is altered.
CREATE TABLE sync_table (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    definition TEXT NOT NULL,
    built TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- name: create_tenant_table
-- definition: as a device of the tenant has it, with the SQL that makes it on a new one; known: the
-- columns of all its devices; introduced: which device brought a column that came later.
-- history: 'new', where it begins with the next session; 'on'; 'off'. history_begun_utc: since when it
-- is whole; empty where it is so from the first row on.
CREATE TABLE sync_tenant_table (
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    name TEXT NOT NULL COLLATE NOCASE,
    position INTEGER NOT NULL,
    definition TEXT NOT NULL,
    known TEXT NOT NULL,
    introduced TEXT NOT NULL,
    history TEXT NOT NULL DEFAULT 'new',
    history_begun_utc TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, name)
) WITHOUT ROWID;

-- name: create_session
-- alive_at_utc: the last sign of life, of the device while it sends, of the server's process while
-- it commits. worker_id: which process has claimed the session, to commit it.
CREATE TABLE sync_session (
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
    alive_at_utc TEXT NOT NULL DEFAULT '',
    worker_id TEXT,
    PRIMARY KEY (tenant_id, session_id)
) WITHOUT ROWID;

-- name: create_session_number
CREATE UNIQUE INDEX ix_session_number ON sync_session (tenant_id, number);

-- name: create_session_device
CREATE INDEX ix_session_device ON sync_session (tenant_id, device_id, number);

-- name: create_session_live
CREATE INDEX ix_session_live ON sync_session (tenant_id, number)
 WHERE status IN ('open', 'staged', 'queued', 'processing');

-- name: create_session_queue
CREATE INDEX ix_session_queue ON sync_session (status, changed_at_utc)
 WHERE status IN ('open', 'staged', 'queued', 'processing');

-- name: create_staging
-- The batches of sessions that are not committed yet, as the devices sent them.
CREATE TABLE sync_staging (
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
-- One snapshot, encoded once, that any request can serve.
CREATE TABLE sync_pull_batch (
    spool_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    payload BLOB NOT NULL,
    created_at_utc TEXT NOT NULL,
    PRIMARY KEY (spool_id, number)
);

-- name: create_policy
-- What happens to a row that another device has changed meanwhile; a table that is not here has the
-- default.
CREATE TABLE sync_policy (
    table_name TEXT PRIMARY KEY COLLATE NOCASE,
    policy TEXT NOT NULL
) WITHOUT ROWID;

-- name: create_conflict
-- A row that came in session `number` and met another version. mine: the version that came, theirs: the
-- one that was here, from session theirs_number; both as JSON, NULL where it was a deletion. outcome:
-- which stands, or `merged`. loser_device_id: the device whose version is gone, in whole or in part.
-- step: several things may be decided of one row, one after the other: 0 what a policy did, 1 what a
-- value did that is unique, 2 what a reference did.
CREATE TABLE sync_conflict (
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    number INTEGER NOT NULL,
    table_name TEXT NOT NULL COLLATE NOCASE,
    key_hash BLOB NOT NULL,
    step INTEGER NOT NULL,
    row_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    policy TEXT NOT NULL,
    outcome TEXT NOT NULL,
    note TEXT,
    mine TEXT,
    mine_user_id TEXT NOT NULL,
    mine_by TEXT NOT NULL,
    mine_at_utc TEXT NOT NULL,
    mine_device_id TEXT NOT NULL,
    theirs TEXT,
    theirs_user_id TEXT,
    theirs_by TEXT NOT NULL,
    theirs_at_utc TEXT NOT NULL,
    theirs_device_id TEXT,
    theirs_number INTEGER NOT NULL,
    loser_device_id TEXT,
    created_at_utc TEXT NOT NULL,
    PRIMARY KEY (tenant_id, number, table_name, key_hash, step)
) WITHOUT ROWID;

-- name: create_conflict_loser
CREATE INDEX ix_conflict_loser ON sync_conflict (tenant_id, loser_device_id, number)
 WHERE loser_device_id IS NOT NULL;

-- name: create_history
-- A version of a row, whole, as a session left it. row_key: the key as bytes. version: 1 and up, in
-- the order in which the sessions committed. operation: insert, update, delete; baseline: the row as
-- it was when history began, whose user and device are not known. user_id: who pushed it;
-- modified_by_user_id: who is said to have made it, at the device's time.
CREATE TABLE sync_history (
    tenant_id TEXT NOT NULL,
    table_name TEXT NOT NULL,
    row_key BLOB NOT NULL,
    version INTEGER NOT NULL,
    session INTEGER NOT NULL,
    operation TEXT NOT NULL,
    committed_at_utc TEXT NOT NULL,
    modified_at_utc TEXT NOT NULL,
    user_id TEXT,
    modified_by_user_id TEXT NOT NULL,
    device_id TEXT,
    image TEXT NOT NULL,
    PRIMARY KEY (tenant_id, table_name, row_key, version)
) WITHOUT ROWID;

-- name: create_unchecked
-- Tables of a tenant whose references lead where they will.
CREATE TABLE sync_unchecked (
    tenant_id TEXT NOT NULL,
    table_name TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (tenant_id, table_name)
) WITHOUT ROWID;

-- name: create_unique_policy
-- What happens to a new row whose unique value another row has; `columns`: JSON, in lower case and
-- sorted. One that is not here has the default.
CREATE TABLE sync_unique_policy (
    table_name TEXT NOT NULL COLLATE NOCASE,
    columns TEXT NOT NULL,
    policy TEXT NOT NULL,
    PRIMARY KEY (table_name, columns)
) WITHOUT ROWID;

-- name: create_unique
-- Which row has a value that is unique, or had it last: what is here is looked up in the row itself.
-- unique_key: the columns, hashed; value: as bytes, equal where SQLite takes them for equal; row_key: the
-- key as MessagePack.
CREATE TABLE sync_unique (
    tenant_id TEXT NOT NULL,
    table_name TEXT NOT NULL COLLATE NOCASE,
    unique_key BLOB NOT NULL,
    value BLOB NOT NULL,
    row_key BLOB NOT NULL,
    PRIMARY KEY (tenant_id, table_name, unique_key, value)
) WITHOUT ROWID;

-- name: create_merged
-- Rows that session `number` made one with another: from_key is gone, and to_key is what it was. row_key:
-- the first as bytes, the others as JSON.
CREATE TABLE sync_merged (
    tenant_id TEXT NOT NULL,
    table_name TEXT NOT NULL COLLATE NOCASE,
    row_key BLOB NOT NULL,
    number INTEGER NOT NULL,
    from_key TEXT NOT NULL,
    to_key TEXT NOT NULL,
    PRIMARY KEY (tenant_id, table_name, row_key)
) WITHOUT ROWID;

-- name: create_merged_number
CREATE INDEX ix_merged_number ON sync_merged (tenant_id, number);
