-- The runner's memory. Columns named *_json hold one dataclass each; rows.py reads and writes them.
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE job (
  id TEXT PRIMARY KEY,
  job_json TEXT NOT NULL
);
CREATE TABLE meter (
  run TEXT PRIMARY KEY,
  meter_json TEXT NOT NULL
);
CREATE TABLE chain (
  tenant TEXT PRIMARY KEY,
  last_index INTEGER NOT NULL,
  last_hash BLOB NOT NULL
);
-- Decided but perhaps not in the spool yet: sent again, identically, after a crash.
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  body_json TEXT NOT NULL
);
