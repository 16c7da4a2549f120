"""What runs beside FlowGuard at a developer's desk and in tests: real Apache Kafka and PostgreSQL, on this machine."""
