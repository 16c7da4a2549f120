"""Use cases: publish, ingest, relay, audit. They know ports, never adapters."""
