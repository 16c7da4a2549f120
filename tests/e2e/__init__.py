"""Whole processes, from outside: the commands that a user types, and what is in the files afterwards."""
