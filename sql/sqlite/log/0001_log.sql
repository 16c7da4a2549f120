-- The embedded log. Offsets of a partition count from 0 without a gap; the triggers hold that for every writer.

CREATE TABLE fg_topics (
  id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: a topic made again is another topic
  name       TEXT    NOT NULL UNIQUE,
  topic_id   TEXT    NOT NULL UNIQUE,
  partitions INTEGER NOT NULL CHECK (partitions > 0),
  created_ms INTEGER NOT NULL
);

CREATE TABLE fg_partitions (
  topic       INTEGER NOT NULL,
  partition   INTEGER NOT NULL,
  earliest    INTEGER NOT NULL DEFAULT 0, -- what lies below was removed by retention
  next_offset INTEGER NOT NULL DEFAULT 0,
  bytes       INTEGER NOT NULL DEFAULT 0, -- of the bodies that are kept
  PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

-- One row for each run of records that was appended to one partition in one transaction.
CREATE TABLE fg_batches (
  seq         INTEGER PRIMARY KEY, -- rises in the order of appending, over all topics
  topic       INTEGER NOT NULL,
  partition   INTEGER NOT NULL,
  base_offset INTEGER NOT NULL,
  last_offset INTEGER NOT NULL,
  appended_ms INTEGER NOT NULL, -- since 1970 UTC
  bytes       INTEGER NOT NULL, -- of the body
  body        BLOB    NOT NULL  -- msgpack: [values, keys | nil, headers | nil]
);

CREATE UNIQUE INDEX fg_batches_place ON fg_batches (topic, partition, last_offset);

-- One live member a group: whoever raised the generation last.
CREATE TABLE fg_groups (
  name       TEXT    NOT NULL PRIMARY KEY,
  generation INTEGER NOT NULL,
  member     TEXT    NOT NULL,
  joined_ms  INTEGER NOT NULL
) WITHOUT ROWID;

-- A row for each partition that a group reads; next_offset is null until it commits one. Retention spares what any of
-- them has not committed.
CREATE TABLE fg_group_offsets (
  group_name  TEXT    NOT NULL,
  topic       INTEGER NOT NULL,
  partition   INTEGER NOT NULL,
  next_offset INTEGER,
  PRIMARY KEY (group_name, topic, partition)
) WITHOUT ROWID;

CREATE TRIGGER fg_batches_at_end BEFORE INSERT ON fg_batches
WHEN new.base_offset IS NOT (SELECT next_offset FROM fg_partitions WHERE topic = new.topic AND partition = new.partition)
BEGIN
  SELECT raise(ABORT, 'a batch goes to the end of its partition only');
END;

CREATE TRIGGER fg_batches_appended AFTER INSERT ON fg_batches
BEGIN
  UPDATE fg_partitions SET next_offset = new.last_offset + 1, bytes = bytes + new.bytes
  WHERE topic = new.topic AND partition = new.partition;
END;

CREATE TRIGGER fg_batches_removed AFTER DELETE ON fg_batches
BEGIN
  UPDATE fg_partitions SET earliest = max(earliest, old.last_offset + 1), bytes = bytes - old.bytes
  WHERE topic = old.topic AND partition = old.partition;
END;
