-- Spool, schema 2. One table of rows keyed by (class << 56 | seq); sums are kept with the rows they sum.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE class (
    record_class INTEGER PRIMARY KEY,
    next_seq INTEGER NOT NULL,
    acked_seq INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);

CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    priority INTEGER NOT NULL,
    gap_first INTEGER,
    payload BLOB NOT NULL,
    expires INTEGER,      -- wall clock, ns since 1970; NULL = never
    lapses INTEGER        -- the same as CLOCK_BOOTTIME of the boot it was appended in, ns
);

CREATE INDEX record_expires ON record (expires) WHERE expires IS NOT NULL;

PRAGMA user_version = 2;
