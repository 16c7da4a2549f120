-- What the sink owns beside the bronze tables: the truth about positions.

-- A topic that is deleted and made again has a new topic_id, and counts its offsets from 0 once more.
CREATE TABLE fg_incarnations (
  topic       text COLLATE "C" NOT NULL,
  incarnation integer          NOT NULL CHECK (incarnation > 0),
  topic_id    text             NOT NULL,
  PRIMARY KEY (topic, incarnation),
  UNIQUE (topic, topic_id)
);

-- Few rows, each changed by every batch of its partition: room is left for it in its page, so that no index changes.
CREATE TABLE fg_positions (
  topic       text COLLATE "C" NOT NULL,
  incarnation integer          NOT NULL,
  partition   integer          NOT NULL,
  next_offset bigint, -- null until the first write
  epoch       bigint           NOT NULL, -- raised by every claim; a writer with another one is fenced
  owner       text             NOT NULL,
  PRIMARY KEY (topic, incarnation, partition)
) WITH (fillfactor = 50);

-- Source positions that were resolved without a row of their own.
CREATE TABLE fg_absorbed (
  event_type         text COLLATE "C" NOT NULL,
  topic              text COLLATE "C" NOT NULL,
  incarnation        integer          NOT NULL,
  partition          integer          NOT NULL,
  "offset"           bigint           NOT NULL,
  kind               text             NOT NULL CHECK (kind IN ('duplicate', 'filtered')),
  first_ingestion_id text, -- of the row that landed in place of a duplicate
  PRIMARY KEY (event_type, topic, incarnation, partition, "offset")
);
