"""`python snowflake_standin name=value ...`: serve until SIGTERM."""

from __future__ import annotations

import sys

from .settings import Settings

if __name__ == "__main__":
    settings = Settings.of(sys.argv[1:])
    settings.clean_temporary()  # before fakesnow makes a folder there, at its import
    from .server import serve

    serve(settings)
