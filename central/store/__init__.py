"""What central keeps, in one SQLite file. Functions take a connection that is inside a transaction."""
