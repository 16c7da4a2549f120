"""The stand-in for Snowflake: a folder that the Python of its own environment runs, and that imports no FlowGuard."""
