"""What `pip install .` gives is whole: the command, the page, and the migrations that live outside src/."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.e2e.pipeline import ROOT

_RUN = "import flowguard.entrypoints.cli.main as main; print(main.__file__, flush=True); main.run()"


def test_an_installed_wheel_brings_its_migrations_and_its_page(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, ROOT], check=True, timeout=120)
    [wheel] = wheels.glob("flowguard-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True, timeout=120)

    outside = {name: value for name, value in os.environ.items() if not name.startswith("FLOWGUARD_")}
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, "migrate", "--data-dir", tmp_path / "data"],
        cwd=tmp_path,
        env=outside | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ran.returncode == 0, ran.stderr
    assert str(site) in ran.stdout.splitlines()[0]
    assert list((site / "flowguard" / "entrypoints" / "gateway" / "static").iterdir())
    with closing(sqlite3.connect(tmp_path / "data" / "warehouse.db")) as warehouse:
        tables = {name for (name,) in warehouse.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"clicks", "orders", "fg_positions"} <= tables
