"""The pure core, driven by what an adversary could do to it."""
