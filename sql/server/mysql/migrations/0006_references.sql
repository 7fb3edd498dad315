-- What the server looks after besides rows: references, and values that are unique.

-- name: conflict_step
-- step: several things may be decided of one row, one after the other: 0 what a policy did, 1 what a
-- value did that is unique, 2 what a reference did.
ALTER TABLE sync_conflict
    ADD COLUMN step TINYINT NOT NULL DEFAULT 0 AFTER key_hash,
    DROP PRIMARY KEY,
    ADD PRIMARY KEY (tenant_id, number, table_name, key_hash, step);

-- name: create_unchecked
-- Tables of a tenant whose references lead where they will.
CREATE TABLE IF NOT EXISTS sync_unchecked (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    table_name VARBINARY(256) NOT NULL,
    PRIMARY KEY (tenant_id, table_name)
) ENGINE = InnoDB;

-- name: create_unique_policy
-- What happens to a new row whose unique value another row has; `columns`: JSON, in lower case and
-- sorted. One that is not here has the default.
CREATE TABLE IF NOT EXISTS sync_unique_policy (
    table_name VARBINARY(256) NOT NULL,
    columns VARBINARY(512) NOT NULL,
    policy VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (table_name, columns)
) ENGINE = InnoDB;

-- name: create_unique
-- Which row has a value that is unique, or had it last: what is here is looked up in the row itself.
-- unique_key: the columns, hashed; value: as bytes, equal where SQLite takes them for equal; row_key: the
-- key as MessagePack.
CREATE TABLE IF NOT EXISTS sync_unique (
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
CREATE TABLE IF NOT EXISTS sync_merged (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    table_name VARBINARY(256) NOT NULL,
    row_key VARBINARY(255) NOT NULL,
    number BIGINT NOT NULL,
    from_key LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    to_key LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (tenant_id, table_name, row_key),
    KEY ix_merged_number (tenant_id, number)
) ENGINE = InnoDB;

-- name: build_again
-- Tables get indexes of what they refer to.
UPDATE sync_table
   SET built = '';
