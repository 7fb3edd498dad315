// A program with an SQLite of long ago, as sql.js had it: it reads a whole file, and writes it back.
//
//     node old_sqlite.cjs VERSION
//
// Takes lines of JSON, [database, statements], and answers each with a line: for each statement its
// rows, or the error; the last id; the number of rows changed.

const { readFileSync, writeFileSync } = require("node:fs");
const { createInterface } = require("node:readline");

const version = process.argv[2];

/** The module of that SQLite. Where it is WebAssembly, its loader knows only how to fetch a URL. */
async function load() {
  const loaded = require(`sqlite-${version}`);
  if (typeof loaded !== "function") return loaded;
  const wasm = require.resolve(`sqlite-${version}`).replace(/\.js$/, ".wasm");
  return loaded({ wasmBinary: readFileSync(wasm) });
}

function answer(db, sql) {
  let rows;
  try {
    rows = db.exec(sql)[0]?.values ?? [];
  } catch (error) {
    rows = error.message;
  }
  const [said] = db.exec("SELECT last_insert_rowid(), changes()")[0].values;
  return [rows, ...said];
}

async function main() {
  const { Database } = await load();
  for await (const line of createInterface({ input: process.stdin })) {
    const [path, statements] = JSON.parse(line);
    const db = new Database(readFileSync(path));
    const actual = db.exec("SELECT sqlite_version()")[0].values[0][0];
    if (actual !== version) throw new Error(`this is SQLite ${actual}`);
    db.exec("PRAGMA foreign_keys = ON");
    const answers = statements.map((sql) => answer(db, sql));
    writeFileSync(path, Buffer.from(db.export()));
    db.close();
    console.log(JSON.stringify(answers));
  }
}

main();
