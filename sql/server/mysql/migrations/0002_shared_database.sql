-- What several server processes and long lives need: signs of life, claims, a horizon, spools.
--
-- Each statement commits on its own, so each may run again after a process was killed in between.

-- name: session_alive
-- alive_at_utc: the last sign of life, of the device while it sends, of the server's process while
-- it commits.
ALTER TABLE sync_session
  ADD COLUMN alive_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';

-- name: session_worker
-- worker_id: which process has claimed the session, to commit it.
ALTER TABLE sync_session
  ADD COLUMN worker_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin;

-- name: fill_alive
UPDATE sync_session
   SET alive_at_utc = changed_at_utc
 WHERE alive_at_utc = '';

-- name: tenant_horizon
-- Sessions up to horizon are forgotten, their tombstones too: a device that lacks one of them has
-- to begin anew.
ALTER TABLE sync_tenant ADD COLUMN horizon BIGINT NOT NULL DEFAULT 0;

-- name: tenant_purged
-- purged: up to where the tombstones are gone by now.
ALTER TABLE sync_tenant ADD COLUMN purged BIGINT NOT NULL DEFAULT 0;

-- name: table_built
-- built: the definition that the real table has been given; behind `definition` while it is altered.
ALTER TABLE sync_table
  ADD COLUMN built LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- name: fill_built
UPDATE sync_table
   SET built = definition
 WHERE built IS NULL;

-- name: drop_pull
-- Spools last minutes; a device begins another pull.
DROP TABLE IF EXISTS sync_pull;

-- name: drop_pull_batch
DROP TABLE IF EXISTS sync_pull_batch;

-- name: create_pull
-- spool_id: the batches; two requests that begin one pull at the same time make two, and one stays.
CREATE TABLE IF NOT EXISTS sync_pull (
    tenant_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    pull_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    device_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    spool_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    answer LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    alive_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (tenant_id, pull_id),
    KEY ix_pull_spool (spool_id),
    KEY ix_pull_alive (alive_at_utc)
) ENGINE = InnoDB;

-- name: create_pull_batch
CREATE TABLE IF NOT EXISTS sync_pull_batch (
    spool_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number BIGINT NOT NULL,
    payload LONGBLOB NOT NULL,
    created_at_utc CHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (spool_id, number)
) ENGINE = InnoDB;
