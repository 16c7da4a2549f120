"""Which Java runs Kafka, and what is said where none can."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.entrypoints.dev.java import find_java
from flowguard.entrypoints.dev.unavailable import KafkaUnavailableError
from tests.entrypoints.dev.fakes import java_of, programs


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_a_java_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    programs(tmp_path, monkeypatch, {"java": java_of(version)})
    java = find_java()
    assert java.program == str(tmp_path / "java")
    assert version in java.version


@pytest.mark.parametrize(("version", "said"), [("1.8.0_392", "Java 8"), ("11.0.22", "Java 11"), ("16", "Java 16")])
def test_an_old_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, said: str) -> None:
    programs(tmp_path, monkeypatch, {"java": java_of(version)})
    with pytest.raises(KafkaUnavailableError, match=rf"needs Java 17 or newer, and {tmp_path}/java is {said}:"):
        find_java()


@pytest.mark.parametrize("scripts", [{}, {"java": "echo 'Unable to locate a Java Runtime' >&2; exit 1"}])
def test_no_java_is_one_line_that_names_the_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripts: dict[str, str]
) -> None:
    programs(tmp_path, monkeypatch, scripts)
    with pytest.raises(KafkaUnavailableError) as raised:
        find_java()
    text = str(raised.value)
    assert "there is none in JAVA_HOME or on the PATH" in text
    assert "FLOWGUARD_LOG_URL=kafka://" in text
    assert "deploy/compose.yaml" in text
    assert "\n" not in text


def test_the_java_of_java_home_comes_first_unless_it_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    programs(home / "bin", monkeypatch, {"java": java_of("21")})
    programs(tmp_path / "path", monkeypatch, {"java": java_of("17.0.1")})
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find_java().program == str(home / "bin" / "java")
    programs(home / "bin", monkeypatch, {"java": java_of("11")})
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find_java().program == str(tmp_path / "path" / "java")
