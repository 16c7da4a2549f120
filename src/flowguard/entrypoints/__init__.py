"""Processes: what reads the settings, makes a container and runs."""
