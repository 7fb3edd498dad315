-- The bookkeeping tables, as they began. Application tables are made by build.sql.j2, as devices
-- describe them.
--
-- Names of tables are kept as bytes: no collation makes two of them equal. No foreign keys: each
-- would lock the tenant's row in every transaction, and the server never deletes a tenant.

-- name: create_tenant
-- last_number: the newest session number given out; numbers are dense per tenant.
CREATE TABLE IF NOT EXISTS sync_tenant (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    last_number BIGINT NOT NULL DEFAULT 0,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB;

-- name: create_token
CREATE TABLE IF NOT EXISTS sync_token (
    token_hash BINARY(32) NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    scopes VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB;

-- name: create_device
CREATE TABLE IF NOT EXISTS sync_device (
    device_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB;

-- name: create_table
-- definition: the union of what all tenants described; the real table has these columns.
CREATE TABLE IF NOT EXISTS sync_table (
    name VARBINARY(256) NOT NULL PRIMARY KEY,
    definition LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
) ENGINE = InnoDB;

-- name: create_tenant_table
-- definition: as a device of the tenant has it, with the SQL that makes it on a new one; known: the
-- columns of all its devices; introduced: which device brought a column that came later.
CREATE TABLE IF NOT EXISTS sync_tenant_table (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name VARBINARY(256) NOT NULL,
    position INTEGER NOT NULL,
    definition LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    known LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    introduced LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (tenant_id, name)
) ENGINE = InnoDB;

-- name: create_session
CREATE TABLE IF NOT EXISTS sync_session (
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
    PRIMARY KEY (tenant_id, session_id),
    UNIQUE KEY ix_session_number (tenant_id, number),
    KEY ix_session_live (tenant_id, status, number),
    KEY ix_session_queue (status, changed_at_utc)
) ENGINE = InnoDB;

-- name: create_staging
-- The batches of sessions that are not committed yet, as the devices sent them.
CREATE TABLE IF NOT EXISTS sync_staging (
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
CREATE TABLE IF NOT EXISTS sync_pull (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    pull_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    device_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    answer LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (tenant_id, pull_id)
) ENGINE = InnoDB;

-- name: create_pull_batch
-- One snapshot, encoded once, that any request can serve.
CREATE TABLE IF NOT EXISTS sync_pull_batch (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    pull_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number BIGINT NOT NULL,
    payload LONGBLOB NOT NULL,
    PRIMARY KEY (tenant_id, pull_id, number)
) ENGINE = InnoDB;
