"""Kafka's jars are the ones of the lock, fetched once, or there is one line that says why not."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowguard.entrypoints.dev.folder_lock import alone_in
from flowguard.entrypoints.dev.kafka_jars import JarLock, cache_folder, find_jars, read_lock
from flowguard.entrypoints.dev.unavailable import KafkaUnavailableError
from tests.entrypoints.dev.fakes import programs

CONTENT = {"a-1.jar": "content of a", "kafka_2.13-9.jar": "content of kafka"}
LOCK = JarLock("9", ("g:a:1",), {name: hashlib.sha256(text.encode()).hexdigest() for name, text in CONTENT.items()})
# The folder is what follows -DoutputDirectory= among the arguments.
INTO = 'for one in "$@"; do case "$one" in -DoutputDirectory=*) into="${one#*=}";; esac; done'
FETCHES = "; ".join([INTO, *(f"printf %s '{text}' > \"$into/{name}\"" for name, text in CONTENT.items())])


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and nothing on the PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FLOWGUARD_KAFKA_JARS", raising=False)
    programs(tmp_path / "bin", monkeypatch, {})


def _fill(folder: Path, **changed: str) -> None:
    folder.mkdir(parents=True)
    for name, text in (CONTENT | changed).items():
        (folder / name).write_text(text, "utf-8")


def _refused(text: str) -> None:
    with pytest.raises(KafkaUnavailableError, match=text) as raised:
        find_jars(LOCK, lambda _: None)
    assert "\n" not in str(raised.value)
    assert "FLOWGUARD_LOG_URL=kafka://" in str(raised.value)


def test_they_are_fetched_once_and_then_had_without_mvn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    programs(tmp_path / "bin", monkeypatch, {"mvn": FETCHES})
    jars = find_jars(LOCK, said.append)
    assert {jar.name: jar.read_text("utf-8") for jar in jars} == CONTENT
    assert len(said) == 1
    (tmp_path / "bin" / "mvn").unlink()
    assert find_jars(LOCK, said.append) == jars
    assert len(said) == 1
    assert sorted(one.name for one in cache_folder(LOCK).iterdir()) == sorted(CONTENT)  # no drafts are left


def test_while_another_process_fetches_them_it_waits_and_has_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, {"mvn": "echo 'a second mvn'; exit 1"})
    folder = cache_folder(LOCK)
    with ThreadPoolExecutor(1) as beside:
        with alone_in(folder.parent):
            jars = beside.submit(find_jars, LOCK, lambda _: None)
            with pytest.raises(TimeoutError):
                jars.result(timeout=0.5)
            _fill(folder)
        assert [jar.name for jar in jars.result(timeout=60)] == sorted(CONTENT)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, {"mvn": FETCHES})
    (tmp_path / "cache").write_text("no folder")
    _refused("cache.* cannot be written: Not a directory")


def test_mvn_is_asked_for_the_artifacts_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "pom.seen"
    copy = 'while [ "$1" != -f ]; do shift; done; while read -r line; do echo "$line"; done < "$2"'
    programs(tmp_path / "bin", monkeypatch, {"mvn": f"{FETCHES}; {copy} > {seen}"})
    find_jars(LOCK, lambda _: None)
    assert "<groupId>g</groupId><artifactId>a</artifactId><version>1</version>" in seen.read_text("utf-8")


def test_without_jars_and_mvn_it_says_so() -> None:
    _refused(r"there is no mvn \(Apache Maven\) on the PATH")


def test_the_error_of_mvn_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "echo '[WARNING] hm'; printf '[\\033[1;31mERROR\\033[m] Could not transfer artifact\\n[ERROR] more\\n'; exit 1"
    )
    programs(tmp_path / "bin", monkeypatch, {"mvn": script})
    _refused(r"\[ERROR\] Could not transfer artifact;")


def test_a_fetched_jar_that_is_not_the_one_of_the_lock_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, {"mvn": f'{FETCHES}; echo more >> "$into/a-1.jar"'})
    _refused("a-1.jar is not the jar of the lock")
    assert list(cache_folder(LOCK).iterdir()) == []


def test_a_jar_that_mvn_did_not_bring_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, {"mvn": "exit 0"})
    _refused("a-1.jar cannot be read: No such file")


def test_a_corrupt_jar_of_the_cache_is_named() -> None:
    _fill(cache_folder(LOCK), **{"kafka_2.13-9.jar": "content of kafkb"})
    _refused(r"kafka_2.13-9.jar is not the jar of the lock .*: remove it to have it fetched again")


def test_an_own_folder_of_jars_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    _fill(own, **{"a-1.jar": "another a", "z.jar": "z"})
    monkeypatch.setenv("FLOWGUARD_KAFKA_JARS", str(own))
    assert find_jars(LOCK, lambda _: None) == [own / "a-1.jar", own / "kafka_2.13-9.jar", own / "z.jar"]
    (own / "kafka_2.13-9.jar").unlink()
    _refused("FLOWGUARD_KAFKA_JARS=.* holds no jar of Apache Kafka's server")


def test_the_lock_has_the_jars_of_kafka_itself() -> None:
    lock = read_lock()
    assert {f"kafka_2.13-{lock.kafka}.jar", f"kafka-clients-{lock.kafka}.jar"} <= lock.sha256.keys()
    assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in lock.sha256.values())
    assert f"org.apache.kafka:kafka_2.13:{lock.kafka}" in lock.artifacts
