"""Real processes on a real Kafka, and what may happen to them: each test shows that its fault fired."""
