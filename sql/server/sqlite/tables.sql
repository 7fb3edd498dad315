-- The registry: which application tables there are, and which a tenant has.

-- name: find
SELECT t.definition
  FROM sync_table AS t
 WHERE t.name = :name;

-- name: put
INSERT INTO sync_table (name, definition)
VALUES (:name, :definition)
ON CONFLICT (name) DO UPDATE SET definition = excluded.definition;

-- name: find_tenant_table
-- Other tenants' columns are none of its business. Returns (known, definition, introduced).
SELECT t.known, t.definition, t.introduced
  FROM sync_tenant_table AS t
 WHERE t.tenant_id = :tenant_id
   AND t.name = :name;

-- name: list_tenant_tables
-- As the tenant's devices have them, parents first.
SELECT t.definition
  FROM sync_tenant_table AS t
 WHERE t.tenant_id = :tenant_id
 ORDER BY t.position, t.name;

-- name: put_tenant_table
INSERT INTO sync_tenant_table (tenant_id, name, position, definition, known, introduced)
VALUES (:tenant_id, :name, :position, :definition, :known, :introduced)
ON CONFLICT (tenant_id, name) DO UPDATE
   SET position = excluded.position, definition = excluded.definition, known = excluded.known,
       introduced = excluded.introduced;
