-- Snowflake enforces no key of standard tables: whoever writes dead letters changes this one row first, and so waits for
-- those before. The tables themselves, CLICKS_DLQ, ORDERS_DLQ, are made from the catalog.
CREATE TABLE IF NOT EXISTS FG_DEAD_LETTER_TURN (TURN NUMBER(38, 0) NOT NULL);
INSERT INTO FG_DEAD_LETTER_TURN (TURN) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM FG_DEAD_LETTER_TURN);
