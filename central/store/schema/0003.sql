-- Records as they come, by node and class. That each is there once is what `position` says, in the same transaction:
-- the index that said it again, and one that nobody asked, cost more than the records themselves.
CREATE TABLE record_3 (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  node_id INTEGER REFERENCES node,              -- NULL: central's own audit trail
  class INTEGER NOT NULL,
  epoch TEXT NOT NULL DEFAULT '',
  seq INTEGER NOT NULL DEFAULT 0,
  received INTEGER NOT NULL,
  body BLOB NOT NULL                            -- storeedge.v1.Record
);
INSERT INTO record_3 SELECT id, node_id, class, epoch, seq, received, body FROM record ORDER BY id;
DROP TABLE record;
ALTER TABLE record_3 RENAME TO record;
CREATE INDEX record_of_node ON record (node_id, class, id);

-- Idempotency keys of a node's newest device messages, in runs as they came.
CREATE TABLE key_run (
  node_id INTEGER NOT NULL REFERENCES node,
  last INTEGER NOT NULL,                        -- the keys of a node are numbered 1, 2, 3...; this is its last one's
  hashes BLOB NOT NULL,                         -- 16 bytes each: central.store.keys.digest
  PRIMARY KEY (node_id, last)
) WITHOUT ROWID;
