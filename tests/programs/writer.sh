#!/usr/bin/env bash
# A program that keeps notes, with the sqlite3 shell, and knows nothing of sync.
#
#     writer.sh DATABASE ROUNDS STOP
#
# What it does and prints: see writer.py. Every round is a process of its own.

set -u

readonly pause_seconds=0.05 kept_rounds=6
readonly database="$1" rounds="$2" stop="$3"

# Print what the statements on stdin answer; the shell goes on after one that fails.
answers() {
    sqlite3 -cmd ".timeout 5000" -cmd ".mode quote" "$database" 2>&1
}

one_round() {
    local changed='SELECT changes();'
    local n="$1" old="$(($1 - kept_rounds))" state=state byte
    ((n % 2)) || state=STATE
    byte="$(printf '%02x' "$((n % 256))")"
    answers <<SQL
PRAGMA foreign_keys = ON;

BEGIN;
INSERT INTO note VALUES ('note $n', 'title $n', 'ünï ☃ $n', $n);
$changed
INSERT INTO item (note_id, v) VALUES ('note $n', $n), ('note $n', $n + 1);
$changed
SELECT last_insert_rowid();
CREATE TEMP TABLE new AS SELECT last_insert_rowid() - 1 AS first, last_insert_rowid() AS second;
INSERT INTO tag SELECT first, 'Blue', $n / 8.0 FROM new UNION ALL SELECT first, 'red', -0.0 FROM new
    UNION ALL SELECT second, 'blue', 3 FROM new;
$changed
COMMIT;
INSERT INTO setting VALUES ('scope $n', 'name 0', NULL), ('scope $n', 'name 1', 9007199254740992 + $n),
    ('scope $n', 'name 2', 1.0 / $n), ('scope $n', 'name 3', 'text
''quoted'''), ('scope $n', 'name 4', x'00ff$byte'), ('scope $n', 'name 5', '');
$changed

INSERT INTO note (id, n) VALUES ('counter', 1) ON CONFLICT (id) DO UPDATE SET n = n + 1 RETURNING n;
INSERT INTO note (id) VALUES ('counter') ON CONFLICT DO NOTHING;
$changed
BEGIN;
UPDATE item SET v = v + 1 WHERE id % 3 = $((n % 3));
$changed
UPDATE tag SET weight = NULL WHERE item_id = (SELECT second FROM new);
$changed
UPDATE note SET body = body WHERE id = 'note $n';
$changed
COMMIT;
UPDATE inbox SET is_read = 1 WHERE is_read = 0;

INSERT OR REPLACE INTO setting VALUES ('all', '$state', $n);
$changed
-- Every third round one takes the title of another note, which goes; every fifth round too.
REPLACE INTO note (id, title) SELECT 'c $n', 'title $((n - 1))' WHERE $n % 3 = 0;
$changed
UPDATE OR REPLACE note SET title = 'fifth' WHERE id = 'note $n' AND $n % 5 = 0;
$changed

BEGIN;
UPDATE note SET id = 'moved $n' WHERE id = 'note $((n - 4))';
$changed
UPDATE setting SET name = upper(name) WHERE scope = 'scope $n';
$changed
COMMIT;
BEGIN;
UPDATE item SET id = -1 WHERE id = (SELECT first FROM new);
$changed
UPDATE item SET id = (SELECT first FROM new) WHERE id = (SELECT second FROM new);
$changed
UPDATE item SET id = (SELECT second FROM new) WHERE id = -1;
$changed
COMMIT;
UPDATE item SET id = id + 50 WHERE id = (SELECT second FROM new) AND $n % 4 = 0;
$changed

BEGIN;
DELETE FROM item;
UPDATE note SET n = 0, title = NULL;
INSERT INTO note (id) VALUES ('undone');
$changed
ROLLBACK;
BEGIN;
INSERT INTO note (id) VALUES ('kept $n');
$changed
SAVEPOINT part;
DELETE FROM tag;
ROLLBACK TO part;
RELEASE part;
COMMIT;

BEGIN;
UPDATE note SET n = n + 1 WHERE id = 'note $n';
$changed
INSERT INTO note (id, n) VALUES ('no $n', 1), ('bad $n', -1);
$changed
INSERT OR IGNORE INTO note (id) VALUES ('counter'), ('kept $n');
$changed
INSERT INTO item (note_id) VALUES ('nobody');
$changed
COMMIT;

BEGIN;
DELETE FROM note WHERE id IN ('moved $old', 'kept $old');
$changed
DELETE FROM setting WHERE scope = 'scope $old';
$changed
COMMIT;
BEGIN;
DELETE FROM setting WHERE scope = 'all';
$changed
INSERT INTO setting VALUES ('all', 'state', $n);
$changed
COMMIT;
SQL
}

for ((n = 1; n <= rounds; n++)); do
    one_round "$n"
    echo "round $n"
    [ -e "$stop" ] && break
    sleep "$pause_seconds"
done

answers <<SQL
SELECT 'note', * FROM note WHERE id NOT LIKE 'other%' ORDER BY id;
SELECT 'item', * FROM item ORDER BY id;
SELECT 'tag', * FROM tag ORDER BY item_id, label;
SELECT 'setting', * FROM setting ORDER BY scope, name;
SQL
