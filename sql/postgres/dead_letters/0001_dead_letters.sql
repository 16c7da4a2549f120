-- Dead letters of all event types, in one shape. Each event type has a partition of its own, which can be read as a
-- table: clicks_dlq, orders_dlq. They are made from the catalog.
CREATE TABLE fg_dead_letters (
  topic        text COLLATE "C" NOT NULL,
  incarnation  integer          NOT NULL,
  partition    integer          NOT NULL,
  "offset"     bigint           NOT NULL,
  reason       text             NOT NULL,
  error        text             NOT NULL,
  event_id     text,
  "key"        bytea,
  value        bytea            NOT NULL, -- the record's original bytes
  headers      json             NOT NULL, -- [[name, value in base64], ...]
  timestamp_ms bigint           NOT NULL, -- the log's, since 1970 UTC
  attempts     integer          NOT NULL DEFAULT 1,
  first_seen   timestamptz      NOT NULL,
  last_seen    timestamptz      NOT NULL,
  state        text             NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replayed', 'discarded')),
  marked_at    timestamptz, -- when a person or a replay set the state
  PRIMARY KEY (topic, incarnation, partition, "offset")
) PARTITION BY LIST (topic);
