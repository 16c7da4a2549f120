"""Tests of the adapters: each subclasses the contracts of its ports, and adds what only it promises."""
