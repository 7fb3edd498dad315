-- What the server looks after besides rows: references, and values that are unique.

-- name: put_conflict_aside
ALTER TABLE sync_conflict RENAME TO sync_conflict_before;

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

-- name: fill_conflict
INSERT INTO sync_conflict (tenant_id, number, table_name, key_hash, step, row_key, kind, policy, outcome, note,
    mine, mine_user_id, mine_by, mine_at_utc, mine_device_id,
    theirs, theirs_user_id, theirs_by, theirs_at_utc, theirs_device_id, theirs_number,
    loser_device_id, created_at_utc)
SELECT c.tenant_id, c.number, c.table_name, c.key_hash, 0, c.row_key, c.kind, c.policy, c.outcome, c.note,
       c.mine, c.mine_user_id, c.mine_by, c.mine_at_utc, c.mine_device_id,
       c.theirs, c.theirs_user_id, c.theirs_by, c.theirs_at_utc, c.theirs_device_id, c.theirs_number,
       c.loser_device_id, c.created_at_utc
  FROM sync_conflict_before AS c;

-- name: drop_conflict
DROP TABLE sync_conflict_before;

-- name: create_conflict_loser
CREATE INDEX ix_conflict_loser ON sync_conflict (tenant_id, loser_device_id, number)
 WHERE loser_device_id IS NOT NULL;

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

-- name: build_again
-- Tables get indexes of what they refer to.
UPDATE sync_table
   SET built = '';
