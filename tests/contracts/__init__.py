"""What every adapter of a port must do, as suites of tests. An adapter's own tests subclass them.

A subclass sets `adapter` to the class that it holds to the contract, and gives the `storage` fixture. A storage is
where adapters keep things: every call makes a new adapter on it, as a restart would.
"""
