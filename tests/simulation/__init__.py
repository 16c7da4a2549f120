"""The real application in one thread, with simulated time and seeded faults: see docs/simulation.md."""
