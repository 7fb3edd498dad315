-- What becomes of rows that two devices have changed: the policies, and the log of what was decided.

-- name: create_policy
-- What happens to a row that another device has changed meanwhile; a table that is not here has the
-- default.
CREATE TABLE IF NOT EXISTS sync_policy (
    table_name VARBINARY(256) NOT NULL PRIMARY KEY,
    policy VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
) ENGINE = InnoDB;

-- name: create_conflict
-- A row that came in session `number` and met another version. mine: the version that came, theirs: the
-- one that was here, from session theirs_number; both as JSON, NULL where it was a deletion. outcome:
-- which stands, or `merged`. loser_device_id: the device whose version is gone, in whole or in part.
CREATE TABLE IF NOT EXISTS sync_conflict (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number BIGINT NOT NULL,
    table_name VARBINARY(256) NOT NULL,
    key_hash BINARY(16) NOT NULL,
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
    PRIMARY KEY (tenant_id, number, table_name, key_hash),
    KEY ix_conflict_loser (tenant_id, loser_device_id, number)
) ENGINE = InnoDB;
