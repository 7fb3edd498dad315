-- What becomes of rows that two devices have changed: the policies, and the log of what was decided.

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
CREATE TABLE sync_conflict (
    tenant_id TEXT NOT NULL REFERENCES sync_tenant (tenant_id),
    number INTEGER NOT NULL,
    table_name TEXT NOT NULL COLLATE NOCASE,
    key_hash BLOB NOT NULL,
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
    PRIMARY KEY (tenant_id, number, table_name, key_hash)
) WITHOUT ROWID;

-- name: create_conflict_loser
CREATE INDEX ix_conflict_loser ON sync_conflict (tenant_id, loser_device_id, number)
 WHERE loser_device_id IS NOT NULL;
