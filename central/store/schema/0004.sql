-- Device messages as they come, a row for each batch: a row for each message cost half of central's processor.
-- Ids are those of `record`, handed out from the same counter (sqlite_sequence): the release before, which doesn't know
-- this table, goes on behind them, and what it stores stands in its place when this one is back.
CREATE TABLE device_run (
  last_id INTEGER PRIMARY KEY,                  -- of its last message; those before have the ids before
  node_id INTEGER NOT NULL REFERENCES node,
  epoch TEXT NOT NULL,
  received INTEGER NOT NULL,
  body BLOB NOT NULL                            -- storeedge.v1.Batch
);
CREATE INDEX device_run_of_node ON device_run (node_id, last_id);
INSERT INTO sqlite_sequence SELECT 'record', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'record');
