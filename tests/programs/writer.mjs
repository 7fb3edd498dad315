// A program that keeps notes, with better-sqlite3, and knows nothing of sync.
//
//     node writer.mjs DATABASE ROUNDS STOP
//
// What it does and prints: see writer.py.

import { existsSync, writeSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import Database from "better-sqlite3";

const PAUSE_MS = 50;
const KEPT_ROUNDS = 6;

const [database, rounds, stop] = process.argv.slice(2);
const db = new Database(database, { timeout: 5000 });
db.pragma("foreign_keys = ON");

const print = (...words) => writeSync(1, words.join(" ") + "\n");
const shown = (row) =>
  JSON.stringify(row, (_, value) => (typeof value === "bigint" ? `${value}n` : value));
const transaction = (work) => db.transaction(work)();

let n = 0;

/** Print what a statement answers; the last id. */
function run(sql, ...values) {
  try {
    const statement = db.prepare(sql);
    if (statement.reader) {
      print(n, shown(statement.all(...values)));
      return 0;
    }
    const { changes, lastInsertRowid } = statement.run(...values);
    print(n, changes);
    return lastInsertRowid;
  } catch (error) {
    if (!error.code?.startsWith("SQLITE_CONSTRAINT")) throw error;
    print(n, error.code, error.message);
    return 0;
  }
}

function insert() {
  const ids = transaction(() => {
    run("INSERT INTO note VALUES (?, ?, ?, ?)", `note ${n}`, `title ${n}`, `ünï ☃ ${n}`, n);
    const add = "INSERT INTO item (note_id, v) VALUES (?, ?)";
    const [first, second] = [0, 1].map((i) => run(add, `note ${n}`, n + i));
    print(n, first, second);
    const tag = db.prepare("INSERT INTO tag VALUES (?, ?, ?)");
    tag.run(first, "Blue", n / 8);
    tag.run(first, "red", -0.0);
    tag.run(second, "blue", 3);
    return [first, second];
  });
  const bytes = Buffer.from([0, 255, n % 256]);
  const values = [null, 2n ** 53n + BigInt(n), 1 / n, "text\n'quoted'", bytes, ""];
  values.forEach((value, i) =>
    run("INSERT INTO setting VALUES (?, ?, ?)", `scope ${n}`, `name ${i}`, value),
  );
  return ids;
}

function update(second) {
  run(
    "INSERT INTO note (id, n) VALUES ('counter', 1) " +
      "ON CONFLICT (id) DO UPDATE SET n = n + 1 RETURNING n",
  );
  run("INSERT INTO note (id) VALUES ('counter') ON CONFLICT DO NOTHING");
  transaction(() => {
    run("UPDATE item SET v = v + 1 WHERE id % 3 = ?", n % 3);
    run("UPDATE tag SET weight = NULL WHERE item_id = ?", second);
    run("UPDATE note SET body = body WHERE id = ?", `note ${n}`);
  });
  db.exec("UPDATE inbox SET is_read = 1 WHERE is_read = 0");
}

function replace() {
  const name = n % 2 ? "state" : "STATE";
  run("INSERT OR REPLACE INTO setting VALUES ('all', ?, ?)", name, n);
  if (n % 3 === 0) {
    // takes the title of another note, which goes
    run("REPLACE INTO note (id, title) VALUES (?, ?)", `c ${n}`, `title ${n - 1}`);
  }
  if (n % 5 === 0) run("UPDATE OR REPLACE note SET title = 'fifth' WHERE id = ?", `note ${n}`);
}

function changeKeys(first, second) {
  transaction(() => {
    run("UPDATE note SET id = ? WHERE id = ?", `moved ${n}`, `note ${n - 4}`);
    run("UPDATE setting SET name = upper(name) WHERE scope = ?", `scope ${n}`);
  });
  transaction(() => {
    run("UPDATE item SET id = ? WHERE id = ?", -1, first);
    run("UPDATE item SET id = ? WHERE id = ?", first, second);
    run("UPDATE item SET id = ? WHERE id = ?", second, -1);
  });
  if (n % 4 === 0) run("UPDATE item SET id = id + 50 WHERE id = ?", second);
}

function undo() {
  db.exec("BEGIN; DELETE FROM item; UPDATE note SET n = 0, title = NULL");
  run("INSERT INTO note (id) VALUES ('undone')");
  db.exec("ROLLBACK");
  transaction(() => {
    run("INSERT INTO note (id) VALUES (?)", `kept ${n}`);
    db.exec("SAVEPOINT part; DELETE FROM tag; ROLLBACK TO part; RELEASE part");
  });
}

function fail() {
  transaction(() => {
    run("UPDATE note SET n = n + 1 WHERE id = ?", `note ${n}`);
    run("INSERT INTO note (id, n) VALUES (?, 1), (?, -1)", `no ${n}`, `bad ${n}`);
    run("INSERT OR IGNORE INTO note (id) VALUES ('counter'), (?)", `kept ${n}`);
    run("INSERT INTO item (note_id) VALUES ('nobody')");
  });
}

function deleteOld() {
  const old = n - KEPT_ROUNDS;
  transaction(() => {
    run("DELETE FROM note WHERE id IN (?, ?)", `moved ${old}`, `kept ${old}`);
    run("DELETE FROM setting WHERE scope = ?", `scope ${old}`);
  });
  transaction(() => {
    run("DELETE FROM setting WHERE scope = 'all'");
    run("INSERT INTO setting VALUES ('all', 'state', ?)", n);
  });
}

while (n < Number(rounds)) {
  n += 1;
  const [first, second] = insert();
  update(second);
  replace();
  changeKeys(first, second);
  undo();
  fail();
  deleteOld();
  print("round", n);
  if (existsSync(stop)) break;
  await pause(PAUSE_MS);
}

for (const table of ["note", "item", "tag", "setting"]) {
  const rows = db.prepare(`SELECT * FROM ${table} ORDER BY 1, 2`).safeIntegers().all();
  for (const row of rows) {
    if (!String(Object.values(row)[0]).startsWith("other")) print(table, shown(row));
  }
}
db.close();
