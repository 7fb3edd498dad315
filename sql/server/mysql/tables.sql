-- The registry: which application tables there are, and which a tenant has.
--
-- Twins: the same names and parameters in each dialect. :name is a table's name in lower case.

-- name: find
-- Returns (definition, built).
SELECT t.definition, t.built
  FROM sync_table AS t
 WHERE t.name = :name;

-- name: add
-- One of two that describe a table at the same time changes a row.
INSERT INTO sync_table (name, definition, built)
VALUES (:name, :definition, '')
ON DUPLICATE KEY UPDATE name = name;

-- name: widen
-- Only from the definition that was read.
UPDATE sync_table
   SET definition = :definition
 WHERE name = :name
   AND definition = :known;

-- name: set_built
-- The real table has what its definition says, if that is still the same.
UPDATE sync_table
   SET built = :definition
 WHERE name = :name
   AND definition = :definition;

-- name: find_tenant_table
-- Returns (known, definition, introduced, definition of the real table, what of it is built). Other
-- tenants' columns are none of its business, but tell what stands where.
SELECT t.known, t.definition, t.introduced, w.definition, w.built
  FROM sync_tenant_table AS t
  JOIN sync_table AS w ON w.name = t.name
 WHERE t.tenant_id = :tenant_id
   AND t.name = :name;

-- name: list_tenant_tables
-- As the tenant's devices have them, parents first.
SELECT t.definition
  FROM sync_tenant_table AS t
 WHERE t.tenant_id = :tenant_id
 ORDER BY t.position, t.name;

-- name: list_described
-- Returns (definition, known, definition of the real table, what of it is built, whether its references
-- are left alone), parents first.
SELECT t.definition, t.known, w.definition, w.built, u.tenant_id IS NOT NULL
  FROM sync_tenant_table AS t
  JOIN sync_table AS w ON w.name = t.name
  LEFT JOIN sync_unchecked AS u ON u.tenant_id = t.tenant_id AND u.table_name = t.name
 WHERE t.tenant_id = :tenant_id
 ORDER BY t.position, t.name;

-- name: share_children
-- Until the session ends, no other deletes rows of the table :name; others may give them children, too.
SELECT 1
  FROM sync_tenant_table AS t
 WHERE t.tenant_id = :tenant_id
   AND t.name = :name
  LOCK IN SHARE MODE;

-- name: lock_children
-- Until the session ends, no other deletes rows of the table :name, or gives them children.
SELECT 1
  FROM sync_tenant_table AS t
 WHERE t.tenant_id = :tenant_id
   AND t.name = :name
   FOR UPDATE;

-- name: check_references
DELETE FROM sync_unchecked
 WHERE tenant_id = :tenant_id
   AND table_name = :name;

-- name: leave_references
INSERT INTO sync_unchecked (tenant_id, table_name)
VALUES (:tenant_id, :name)
ON DUPLICATE KEY UPDATE table_name = sync_unchecked.table_name;

-- name: list_known
-- Everything that the tenant's devices described of each table.
SELECT t.known
  FROM sync_tenant_table AS t
 WHERE t.tenant_id = :tenant_id
 ORDER BY t.position, t.name;

-- name: add_tenant_table
INSERT INTO sync_tenant_table (tenant_id, name, position, definition, known, introduced)
VALUES (:tenant_id, :name, :position, :definition, :known, :introduced)
ON DUPLICATE KEY UPDATE tenant_id = tenant_id;

-- name: put_tenant_table
-- Only over what was read.
UPDATE sync_tenant_table
   SET position = :position, definition = :definition, known = :known, introduced = :introduced
 WHERE tenant_id = :tenant_id
   AND name = :name
   AND known = :known_before
   AND introduced = :introduced_before;
