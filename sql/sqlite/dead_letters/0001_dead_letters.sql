CREATE TABLE fg_dead_letters (
  topic        TEXT    NOT NULL,
  incarnation  INTEGER NOT NULL,
  partition    INTEGER NOT NULL,
  "offset"     INTEGER NOT NULL,
  reason       TEXT    NOT NULL,
  error        TEXT    NOT NULL,
  event_id     TEXT,
  "key"        BLOB,
  value        BLOB    NOT NULL, -- the record's original bytes
  headers      TEXT    NOT NULL, -- JSON: [[name, value in base64], ...]
  timestamp_ms INTEGER NOT NULL, -- the log's, since 1970 UTC
  attempts     INTEGER NOT NULL DEFAULT 1,
  first_seen   TEXT    NOT NULL,
  last_seen    TEXT    NOT NULL,
  state        TEXT    NOT NULL DEFAULT 'open',
  marked_at    TEXT, -- when a person or a replay set the state
  PRIMARY KEY (topic, incarnation, partition, "offset")
);
