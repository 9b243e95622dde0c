-- Times are ns since 1970, sequence numbers and revisions those of the wire.

CREATE TABLE node (
  id INTEGER PRIMARY KEY,
  store TEXT NOT NULL,
  node TEXT NOT NULL,
  enrolled INTEGER NOT NULL DEFAULT 0,          -- 0: a token was made, the box has not come yet
  hardware TEXT NOT NULL DEFAULT '',
  agent_version TEXT NOT NULL DEFAULT '',
  applied_revision INTEGER NOT NULL DEFAULT 0,
  desired_revision INTEGER NOT NULL DEFAULT 0,
  desired BLOB NOT NULL DEFAULT x'',            -- storeedge.v1.Desired without its revision
  last_seen INTEGER NOT NULL DEFAULT 0,
  UNIQUE (store, node)
);

CREATE TABLE token (
  id TEXT PRIMARY KEY,
  node_id INTEGER NOT NULL REFERENCES node,
  secret_hash BLOB NOT NULL,                    -- SHA-256; the secret itself is nowhere
  expires INTEGER NOT NULL,
  used INTEGER NOT NULL DEFAULT 0,
  key_hash BLOB,                                -- SHA-256 of the public key it was traded for
  leaf BLOB                                     -- the answer, for a box that lost it
);

CREATE TABLE certificate (
  serial TEXT PRIMARY KEY,
  node_id INTEGER NOT NULL REFERENCES node,
  not_after INTEGER NOT NULL,
  revoked INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX certificate_of_node ON certificate (node_id);

-- Highest contiguous sequence number held of each class of a spool.
CREATE TABLE position (
  node_id INTEGER NOT NULL REFERENCES node,
  epoch TEXT NOT NULL,
  class INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (node_id, epoch, class)
) WITHOUT ROWID;

CREATE TABLE record (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  node_id INTEGER REFERENCES node,              -- NULL: central's own audit trail
  class INTEGER NOT NULL,
  epoch TEXT NOT NULL DEFAULT '',
  seq INTEGER NOT NULL DEFAULT 0,
  received INTEGER NOT NULL,
  subject TEXT NOT NULL DEFAULT '',             -- what it is about: a job, a tenant, a device
  body BLOB NOT NULL,                           -- storeedge.v1.Record
  UNIQUE (node_id, epoch, class, seq)           -- NULLs are all different to SQLite
);
CREATE INDEX record_of_node ON record (node_id, class, id);
CREATE INDEX record_about ON record (node_id, class, subject, id);
