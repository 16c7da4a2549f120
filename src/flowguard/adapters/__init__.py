"""Technologies behind the ports, one folder each. None knows another; only the container knows them all."""
