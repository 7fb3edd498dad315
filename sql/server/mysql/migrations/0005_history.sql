-- What keeps every version of a row: who made it, when, on which device, in which session.

-- name: create_history
-- A version of a row, whole, as a session left it. row_key: the key as bytes. version: 1 and up, in
-- the order in which the sessions committed. operation: insert, update, delete; baseline: the row as
-- it was when history began, whose user and device are not known. user_id: who pushed it;
-- modified_by_user_id: who is said to have made it, at the device's time.
CREATE TABLE IF NOT EXISTS sync_history (
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

-- name: tenant_table_history
-- history: 'new', where it begins with the next session; 'on'; 'off'. history_begun_utc: since when it
-- is whole; empty where it is so from the first row on.
ALTER TABLE sync_tenant_table
    ADD COLUMN history VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'new',
    ADD COLUMN history_begun_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';

-- name: tenant_history
-- history_pruned_utc: of what was so before, history may lack versions.
ALTER TABLE sync_tenant
    ADD COLUMN history_pruned_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';
