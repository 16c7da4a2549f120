"""Snowflake's protocol and semantics on DuckDB: fakesnow translates the SQL, and what it leaves out is here.

It runs in an environment of its own, under the name `standin`: hence the relative imports. It reaches into fakesnow's
internals, whose version is pinned to the last digit (`requirements.in`, beside this folder).
"""
