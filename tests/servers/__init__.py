"""Real servers for tests: started on first use, stopped at the end of the run."""
