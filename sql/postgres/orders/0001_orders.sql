-- Orders, the requests that placed them, and the outbox of their events.

CREATE TABLE fg_orders (
  order_id  text COLLATE "C" NOT NULL,
  source    text COLLATE "C" NOT NULL, -- of its event, with event_id: what the sink tells events apart by
  event_id  text COLLATE "C" NOT NULL,
  document  json             NOT NULL, -- as it was sent
  placed_at timestamptz      NOT NULL,
  PRIMARY KEY (order_id),
  UNIQUE (source, event_id)
);

CREATE TABLE fg_idempotency_keys (
  scope       text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,
  fingerprint bytea            NOT NULL, -- of the request that the key came with first
  order_id    text COLLATE "C" NOT NULL, -- what that request led to
  created_at  timestamptz      NOT NULL,
  PRIMARY KEY (scope, key)
);
CREATE INDEX fg_idempotency_keys_created_at ON fg_idempotency_keys (created_at);

-- Written inside of other transactions, also by other services. The order of ids is that of transactions which did not
-- overlap, so the identity must not be cached: a session with a stock of ids would use low ones late.
CREATE TABLE fg_outbox (
  id         bigint           NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
  event_id   text COLLATE "C" NOT NULL,
  topic      text COLLATE "C" NOT NULL,
  key        bytea,
  value      bytea            NOT NULL,
  headers    text             NOT NULL DEFAULT '[]', -- JSON: [[name, value in base64], ...]
  created_at timestamptz      NOT NULL DEFAULT now(),
  sent_at    timestamptz, -- when the log had it
  PRIMARY KEY (id)
);
CREATE INDEX fg_outbox_waiting ON fg_outbox (id) WHERE sent_at IS NULL;
CREATE INDEX fg_outbox_sent ON fg_outbox (sent_at) WHERE sent_at IS NOT NULL;

-- Wakes the relay when the transaction commits. Whoever writes need not know of it; without it, polling is enough:
-- ALTER TABLE fg_outbox DISABLE TRIGGER fg_outbox_wakes
CREATE FUNCTION fg_outbox_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('fg_outbox', '');
  RETURN NULL;
END
$$;
CREATE TRIGGER fg_outbox_wakes AFTER INSERT ON fg_outbox FOR EACH STATEMENT EXECUTE FUNCTION fg_outbox_wake();
