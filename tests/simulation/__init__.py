"""The real application on memory adapters, in one thread, with simulated time and seeded faults: see docs/simulation.md."""
