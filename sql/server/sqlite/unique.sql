-- Values that are unique: which row has each, the policies, and rows that became others by them.
--
-- Twins: the same names and parameters in each dialect. :table_name is in lower case.

-- name: find_policy
SELECT p.policy
  FROM sync_unique_policy AS p
 WHERE p.table_name = :table_name
   AND p.columns = :columns;

-- name: list_policies
-- Returns (table_name, columns, policy).
SELECT p.table_name, p.columns, p.policy
  FROM sync_unique_policy AS p
 ORDER BY p.table_name, p.columns;

-- name: set_policy
INSERT INTO sync_unique_policy (table_name, columns, policy)
VALUES (:table_name, :columns, :policy)
ON CONFLICT (table_name, columns) DO UPDATE SET policy = excluded.policy;

-- name: owner
-- Returns (row_key) of who has a value, or had it last.
SELECT u.row_key
  FROM sync_unique AS u
 WHERE u.tenant_id = :tenant_id
   AND u.table_name = :table_name
   AND u.unique_key = :unique_key
   AND u.value = :value;

-- name: take
-- A value that is another's no more.
UPDATE sync_unique
   SET row_key = :row_key
 WHERE tenant_id = :tenant_id
   AND table_name = :table_name
   AND unique_key = :unique_key
   AND value = :value;

-- name: add_merged
INSERT INTO sync_merged (tenant_id, table_name, row_key, number, from_key, to_key)
VALUES (:tenant_id, :table_name, :row_key, :number, :from_key, :to_key)
ON CONFLICT (tenant_id, table_name, row_key) DO UPDATE SET number = excluded.number, to_key = excluded.to_key;

-- name: find_merged
-- Returns (to_key): what a row has become.
SELECT m.to_key
  FROM sync_merged AS m
 WHERE m.tenant_id = :tenant_id
   AND m.table_name = :table_name
   AND m.row_key = :row_key;

-- name: has_merged
-- Returns one row when any did so. Index: ix_merged_number.
SELECT 1
  FROM sync_merged AS m
 WHERE m.tenant_id = :tenant_id
   AND m.number > :after
 LIMIT 1;

-- name: select_merged
-- Rows of a table that became others in the sessions :first to :last.
SELECT m.number, NULL, NULL, 0, m.from_key, m.to_key
  FROM sync_merged AS m
 WHERE m.tenant_id = :tenant_id
   AND m.table_name = :table_name
   AND m.number BETWEEN :first AND :last
 ORDER BY m.number, m.row_key;
