-- The whole bookkeeping schema as it is now, to be read: connection.sql (sync_schema) and migrations/
-- are what makes it, and a test says that both come to the same. Application tables: build.sql.j2.
--
-- Twins: the same tables and columns in each dialect, but for sync_schema, which is here only. Names
-- of tables are kept as bytes: no collation makes two of them equal. No foreign keys: each would lock
-- the tenant's row in every transaction, and the server never deletes a tenant.

-- name: create_schema_table
-- version: the newest script in migrations/ that has run. One process at a time runs them.
CREATE TABLE sync_schema (
    id TINYINT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    worker_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin,
    alive_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin
) ENGINE = InnoDB;

-- name: create_tenant
-- last_number: the newest session number given out; numbers are dense per tenant. Sessions up to
-- horizon are forgotten, their tombstones too: a device that lacks one of them has to begin anew.
-- purged: up to where the tombstones are gone by now.
-- history_pruned_utc: of what was so before, history may lack versions.
CREATE TABLE sync_tenant (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    last_number BIGINT NOT NULL DEFAULT 0,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    horizon BIGINT NOT NULL DEFAULT 0,
    purged BIGINT NOT NULL DEFAULT 0,
    history_pruned_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT ''
) ENGINE = InnoDB;

-- name: create_token
CREATE TABLE sync_token (
    token_hash BINARY(32) NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    scopes VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB;

-- name: create_device
CREATE TABLE sync_device (
    device_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB;

-- name: create_table
-- definition: the union of what all tenants described. built: the definition that the real table has
-- been given; behind `definition` while it is altered.
CREATE TABLE sync_table (
    name VARBINARY(256) NOT NULL PRIMARY KEY,
    definition LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    built LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
) ENGINE = InnoDB;

-- name: create_tenant_table
-- definition: as a device of the tenant has it, with the SQL that makes it on a new one; known: the
-- columns of all its devices; introduced: which device brought a column that came later.
-- history: 'new', where it begins with the next session; 'on'; 'off'. history_begun_utc: since when it
-- is whole; empty where it is so from the first row on.
CREATE TABLE sync_tenant_table (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name VARBINARY(256) NOT NULL,
    position INTEGER NOT NULL,
    definition LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    known LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    introduced LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    history VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'new',
    history_begun_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, name)
) ENGINE = InnoDB;

-- name: create_session
-- alive_at_utc: the last sign of life, of the device while it sends, of the server's process while
-- it commits. worker_id: which process has claimed the session, to commit it.
CREATE TABLE sync_session (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    session_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number BIGINT NOT NULL,
    device_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    count_batches BIGINT NOT NULL,
    count_rows BIGINT NOT NULL,
    is_corrected TINYINT NOT NULL DEFAULT 0,
    error LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    changed_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    alive_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    worker_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin,
    PRIMARY KEY (tenant_id, session_id),
    UNIQUE KEY ix_session_number (tenant_id, number),
    KEY ix_session_live (tenant_id, status, number),
    KEY ix_session_queue (status, changed_at_utc),
    KEY ix_session_device (tenant_id, device_id, number)
) ENGINE = InnoDB;

-- name: create_staging
-- The batches of sessions that are not committed yet, as the devices sent them.
CREATE TABLE sync_staging (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    session_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number BIGINT NOT NULL,
    table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    count_rows BIGINT NOT NULL,
    encoding VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    payload LONGBLOB NOT NULL,
    PRIMARY KEY (tenant_id, session_id, number)
) ENGINE = InnoDB;

-- name: create_pull
-- spool_id: the batches; two requests that begin one pull at the same time make two, and one stays.
CREATE TABLE sync_pull (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    pull_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    device_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    spool_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    answer LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    alive_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (tenant_id, pull_id),
    KEY ix_pull_spool (spool_id),
    KEY ix_pull_alive (alive_at_utc)
) ENGINE = InnoDB;

-- name: create_pull_batch
-- One snapshot, encoded once, that any request can serve.
CREATE TABLE sync_pull_batch (
    spool_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number BIGINT NOT NULL,
    payload LONGBLOB NOT NULL,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (spool_id, number)
) ENGINE = InnoDB;

-- name: create_policy
-- What happens to a row that another device has changed meanwhile; a table that is not here has the
-- default.
CREATE TABLE sync_policy (
    table_name VARBINARY(256) NOT NULL PRIMARY KEY,
    policy VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
) ENGINE = InnoDB;

-- name: create_conflict
-- A row that came in session `number` and met another version. mine: the version that came, theirs: the
-- one that was here, from session theirs_number; both as JSON, NULL where it was a deletion. outcome:
-- which stands, or `merged`. loser_device_id: the device whose version is gone, in whole or in part.
-- step: several things may be decided of one row, one after the other: 0 what a policy did, 1 what a
-- value did that is unique, 2 what a reference did.
CREATE TABLE sync_conflict (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number BIGINT NOT NULL,
    table_name VARBINARY(256) NOT NULL,
    key_hash BINARY(16) NOT NULL,
    step TINYINT NOT NULL DEFAULT 0,
    row_key LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    policy VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    outcome VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    note LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    mine LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    mine_user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    mine_by VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    mine_at_utc VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    mine_device_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    theirs LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    theirs_user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
    theirs_by VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    theirs_at_utc VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    theirs_device_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin,
    theirs_number BIGINT NOT NULL,
    loser_device_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (tenant_id, number, table_name, key_hash, step),
    KEY ix_conflict_loser (tenant_id, loser_device_id, number)
) ENGINE = InnoDB;

-- name: create_history
-- A version of a row, whole, as a session left it. row_key: the key as bytes. version: 1 and up, in
-- the order in which the sessions committed. operation: insert, update, delete; baseline: the row as
-- it was when history began, whose user and device are not known. user_id: who pushed it;
-- modified_by_user_id: who is said to have made it, at the device's time.
CREATE TABLE sync_history (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    table_name VARBINARY(256) NOT NULL,
    row_key VARBINARY(255) NOT NULL,
    version BIGINT NOT NULL,
    session BIGINT NOT NULL,
    operation VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    committed_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    modified_at_utc VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
    modified_by_user_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    device_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin,
    image LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (tenant_id, table_name, row_key, version)
) ENGINE = InnoDB;

-- name: create_unchecked
-- Tables of a tenant whose references lead where they will.
CREATE TABLE sync_unchecked (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    table_name VARBINARY(256) NOT NULL,
    PRIMARY KEY (tenant_id, table_name)
) ENGINE = InnoDB;

-- name: create_unique_policy
-- What happens to a new row whose unique value another row has; `columns`: JSON, in lower case and
-- sorted. One that is not here has the default.
CREATE TABLE sync_unique_policy (
    table_name VARBINARY(256) NOT NULL,
    columns VARBINARY(512) NOT NULL,
    policy VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (table_name, columns)
) ENGINE = InnoDB;

-- name: create_unique
-- Which row has a value that is unique, or had it last: what is here is looked up in the row itself.
-- unique_key: the columns, hashed; value: as bytes, equal where SQLite takes them for equal; row_key: the
-- key as MessagePack.
CREATE TABLE sync_unique (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    table_name VARBINARY(256) NOT NULL,
    unique_key BINARY(16) NOT NULL,
    value VARBINARY(255) NOT NULL,
    row_key LONGBLOB NOT NULL,
    PRIMARY KEY (tenant_id, table_name, unique_key, value)
) ENGINE = InnoDB;

-- name: create_merged
-- Rows that session `number` made one with another: from_key is gone, and to_key is what it was. row_key:
-- the first as bytes, the others as JSON.
CREATE TABLE sync_merged (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    table_name VARBINARY(256) NOT NULL,
    row_key VARBINARY(255) NOT NULL,
    number BIGINT NOT NULL,
    from_key LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    to_key LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (tenant_id, table_name, row_key),
    KEY ix_merged_number (tenant_id, number)
) ENGINE = InnoDB;
