"""What runs beside FlowGuard at a developer's desk and in tests: a real Apache Kafka, on this machine."""
