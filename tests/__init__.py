"""The tests: contracts of the ports, domain, adapters, simulation, faults, and the whole from outside."""
