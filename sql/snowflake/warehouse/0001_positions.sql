-- Each statement commits by itself, and may be carried out again after a break.
-- What the sink owns beside the bronze tables: the truth about positions. Snowflake enforces no key of standard tables;
-- writers take turns by changing FG_POSITIONS first.

-- A topic that is deleted and made again has a new TOPIC_ID, and counts its offsets from 0 once more.
CREATE TABLE IF NOT EXISTS FG_INCARNATIONS (
  TOPIC       VARCHAR       NOT NULL,
  INCARNATION NUMBER(38, 0) NOT NULL,
  TOPIC_ID    VARCHAR       NOT NULL
);

-- NEXT_OFFSET: null until the first write. EPOCH: raised by every claim; a writer with another one is fenced.
-- AHEAD_TO: up to here rows may have landed without a move of the position (by a replay), and are looked for.
CREATE TABLE IF NOT EXISTS FG_POSITIONS (
  TOPIC       VARCHAR       NOT NULL,
  INCARNATION NUMBER(38, 0) NOT NULL,
  PARTITION   NUMBER(38, 0) NOT NULL,
  NEXT_OFFSET NUMBER(38, 0),
  EPOCH       NUMBER(38, 0) NOT NULL,
  OWNER       VARCHAR       NOT NULL,
  AHEAD_TO    NUMBER(38, 0)
);

-- No position: whoever writes without moving one changes this row, and so waits for its turn.
INSERT INTO FG_POSITIONS (TOPIC, INCARNATION, PARTITION, EPOCH, OWNER)
SELECT '', 0, 0, 0, 'whose turn it is' WHERE NOT EXISTS (SELECT 1 FROM FG_POSITIONS WHERE TOPIC = '');

-- Source positions that were resolved without a row of their own (duplicate, filtered), or whose row has the ingestion
-- id of another place (relayed). FIRST_INGESTION_ID: of the row that landed.
CREATE TABLE IF NOT EXISTS FG_ABSORBED (
  EVENT_TYPE         VARCHAR       NOT NULL,
  TOPIC              VARCHAR       NOT NULL,
  INCARNATION        NUMBER(38, 0) NOT NULL,
  PARTITION          NUMBER(38, 0) NOT NULL,
  "OFFSET"           NUMBER(38, 0) NOT NULL,
  KIND               VARCHAR       NOT NULL,
  FIRST_INGESTION_ID VARCHAR
);
