-- What keeps every version of a row: who made it, when, on which device, in which session.

-- name: create_history
-- A version of a row, whole, as a session left it; by id in the order in which the sessions
-- committed. row_key: the key as bytes (docs/explanation/history.md). operation: insert, update,
-- delete; baseline: the row as it was when history began, whose user and device are not known.
-- user_id is who pushed it; modified_by_user_id who is said to have made it, at the device's time.
CREATE TABLE IF NOT EXISTS sync_history (
    id INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    table_name TEXT NOT NULL,
    row_key BLOB NOT NULL,
    session INTEGER NOT NULL,
    operation TEXT NOT NULL,
    committed_at_utc TEXT NOT NULL,
    modified_at_utc TEXT NOT NULL,
    user_id TEXT,
    modified_by_user_id TEXT NOT NULL,
    device_id TEXT,
    image TEXT NOT NULL
);

-- name: create_history_row
CREATE INDEX IF NOT EXISTS ix_history_row ON sync_history (tenant_id, table_name, row_key);

-- name: create_history_session
CREATE INDEX IF NOT EXISTS ix_history_session ON sync_history (tenant_id, session);

-- name: tenant_table_history
-- history: 'new', where it begins with the next session; 'on'; 'off'. From history_from_utc on, and in
-- versions from history_first on, it is whole.
ALTER TABLE sync_tenant_table ADD COLUMN history TEXT NOT NULL DEFAULT 'new';

-- name: tenant_table_history_first
ALTER TABLE sync_tenant_table ADD COLUMN history_first INTEGER NOT NULL DEFAULT 0;

-- name: tenant_table_history_from
ALTER TABLE sync_tenant_table ADD COLUMN history_from_utc TEXT NOT NULL DEFAULT '';
