-- What keeps every version of a row: who made it, when, on which device, in which session.

-- name: create_history
-- A version of a row, whole, as a session left it. row_key: the key as bytes. version: 1 and up, in
-- the order in which the sessions committed. operation: insert, update, delete; baseline: the row as
-- it was when history began, whose user and device are not known. user_id: who pushed it;
-- modified_by_user_id: who is said to have made it, at the device's time.
CREATE TABLE IF NOT EXISTS sync_history (
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

-- name: tenant_table_history
-- history: 'new', where it begins with the next session; 'on'; 'off'. history_begun_utc: since when it
-- is whole; empty where it is so from the first row on.
ALTER TABLE sync_tenant_table ADD COLUMN history TEXT NOT NULL DEFAULT 'new';

-- name: tenant_table_history_begun
ALTER TABLE sync_tenant_table ADD COLUMN history_begun_utc TEXT NOT NULL DEFAULT '';

-- name: tenant_history
-- history_pruned_utc: of what was so before, history may lack versions.
ALTER TABLE sync_tenant ADD COLUMN history_pruned_utc TEXT NOT NULL DEFAULT '';
