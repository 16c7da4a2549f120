"""Run the package beside this file, which Python has put on the path."""

from __future__ import annotations

import runpy

runpy.run_module("standin", run_name="__main__", alter_sys=True)
