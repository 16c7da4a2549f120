"""How fast FlowGuard is, beside the raw limit of the machine in the same run: `make bench`."""
