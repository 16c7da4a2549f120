"""Tests of the system adapters."""
