-- What the sink owns beside the bronze tables: the truth about positions.

-- A topic that is deleted and made again has a new topic_id, and counts its offsets from 0 once more.
CREATE TABLE fg_incarnations (
  topic       TEXT    NOT NULL,
  incarnation INTEGER NOT NULL CHECK (incarnation > 0),
  topic_id    TEXT    NOT NULL,
  PRIMARY KEY (topic, incarnation),
  UNIQUE (topic, topic_id)
) WITHOUT ROWID;

CREATE TABLE fg_positions (
  topic       TEXT    NOT NULL,
  incarnation INTEGER NOT NULL,
  partition   INTEGER NOT NULL,
  next_offset INTEGER,          -- null until the first write
  epoch       INTEGER NOT NULL, -- raised by every claim; a writer with another one is fenced
  owner       TEXT    NOT NULL,
  PRIMARY KEY (topic, incarnation, partition)
) WITHOUT ROWID;

-- Source positions that were resolved without a row of their own.
CREATE TABLE fg_absorbed (
  event_type         TEXT    NOT NULL,
  topic              TEXT    NOT NULL,
  incarnation        INTEGER NOT NULL,
  partition          INTEGER NOT NULL,
  "offset"           INTEGER NOT NULL,
  kind               TEXT    NOT NULL CHECK (kind IN ('duplicate', 'filtered')),
  first_ingestion_id TEXT, -- of the row that landed in place of a duplicate
  PRIMARY KEY (event_type, topic, incarnation, partition, "offset")
) WITHOUT ROWID;
