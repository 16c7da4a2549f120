"""Tests of the memory adapters."""
