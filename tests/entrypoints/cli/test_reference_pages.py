"""The reference pages name every command, option, exit code and setting, with the defaults in force."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import typer.main

from flowguard.entrypoints.cli.main import app
from flowguard.entrypoints.cli.options import ExitCode
from flowguard.settings import Settings

PAGES = Path(__file__).resolve().parents[3] / "docs" / "reference"
CLI = (PAGES / "cli.md").read_text("utf-8")
SETTINGS = (PAGES / "settings.md").read_text("utf-8")


def test_every_command_and_option_is_described() -> None:
    commands = dict(_commands(typer.main.get_command(app)))
    assert {"up", "dlq list", "relay", "relay outbox", "dev kafka up"} <= commands.keys()
    for name, command in commands.items():
        synopsis = re.findall(rf"^    flowguard {name}(?! [a-z])\b(?:.*\n)(?:     .*\n)*", CLI, re.MULTILINE)
        assert len(synopsis) == 1, name
        options = {max(param.opts, key=len) for param in command.params if param.param_type_name == "option"}
        everywhere = {"--data-dir", "--help"}
        assert "--data-dir" in options, name
        assert [one for one in options - everywhere if f"{one}" not in synopsis[0]] == [], name
        assert sorted(set(re.findall(r"--[a-z-]+", synopsis[0])) - options) == [], name


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  # typer hides its classes
    """By their full names, those within groups too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:  # it does something by itself, too
                yield f"{before}{name}", command
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_every_exit_code_is_described() -> None:
    table = CLI.partition("## Exit codes")[2].partition("##")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == [code.value for code in ExitCode]


def test_every_setting_is_described_with_its_default() -> None:
    described = dict(re.findall(r"^\| `([a-z_.]+)` \| (.*?) \|", SETTINGS, re.MULTILINE))
    expected: dict[str, object] = {}
    for name, field in Settings.model_fields.items():
        if is_dataclass(field.default):
            expected |= {f"{name}.{one.name}": getattr(field.default, one.name) for one in fields(field.default)}
        else:
            expected[name] = field.default
    assert described.keys() == expected.keys()
    for name, default in expected.items():
        if isinstance(default, int | float) or (isinstance(default, str | Path) and str(default)):
            assert described[name].strip("`") == str(default), name
