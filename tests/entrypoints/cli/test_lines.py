"""Files of events: their lines, the ids that are derived for them, and where a publish stopped."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.entrypoints.cli.lines import Bookmark, Line, name_of, numbered, opened, with_event_id

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON_VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SCALARS, max_size=3)
KEYS = st.text(max_size=8).filter(lambda key: key not in {"event_id", "specversion"})


def _id(text: bytes, number: int = 1, name: str = "clicks.ndjson", key: str = "event_id") -> str:
    found = json.loads(with_event_id(Line(number, text), name))[key]
    assert isinstance(found, str)
    return found


@given(st.dictionaries(KEYS, JSON_VALUES, max_size=4))
def test_a_derived_id_is_added_and_nothing_else_is_changed(event: dict[str, object]) -> None:
    published = json.loads(with_event_id(Line(3, json.dumps(event).encode()), "a"))
    assert UUID(published.pop("event_id")).version == 5
    assert published == event


def test_the_same_line_of_the_same_file_always_gets_the_same_id() -> None:
    # Written down: a change of the derivation would land every file a second time.
    assert _id(b'{"a":1}') == "df01377a-f430-5726-8c07-f31c93d24128"


def test_name_line_and_text_each_tell_ids_apart() -> None:
    ids = {_id(b'{"a":1}'), _id(b'{"a":1}', 2), _id(b'{"a":1}', name="b"), _id(b'{"a":2}'), _id(b'{"a": 1}')}
    assert len(ids) == 5


def test_an_id_that_is_there_is_kept_to_the_byte() -> None:
    text = b'{ "event_id" : "mine", "a":1.50}'
    assert with_event_id(Line(1, text), "a") == text
    assert _id(b'{"event_id":null,"a":1.50}') != "None"
    assert b"1.50" in with_event_id(Line(1, b'{"event_id":null,"a":1.50}'), "a")


def test_a_cloud_event_keeps_its_id_under_its_own_name() -> None:
    given_id = b'{"specversion":"1.0","id":"mine","data":{}}'
    assert with_event_id(Line(1, given_id), "a") == given_id
    assert UUID(_id(b'{"specversion":"1.0","data":{}}', key="id")).version == 5


@pytest.mark.parametrize("text", [b"[1]", b"7", b'"x"', b"nope", b'{"a":', b"{]", b"{" * 5_000, b"\xff\xfe"])
def test_what_is_no_object_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        with_event_id(Line(1, text), "a")


CONTENT = b'\xef\xbb\xbf{"a":1}\r\n\n  \n{"a":2}\n{"a":3}'


@pytest.mark.parametrize("packed", [False, True])
def test_lines_are_numbered_as_an_editor_numbers_them(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "events"
    file.write_bytes(gzip.compress(CONTENT) if packed else CONTENT)
    with opened(file) as (text, _):
        assert list(numbered(text)) == [Line(1, b'{"a":1}'), Line(4, b'{"a":2}'), Line(5, b'{"a":3}')]
    with opened(file) as (text, _):
        assert list(numbered(text, 4)) == [Line(4, b'{"a":2}'), Line(5, b'{"a":3}')]


def test_folder_and_gz_do_not_belong_to_a_files_name(tmp_path: Path) -> None:
    assert name_of(tmp_path / "x" / "clicks.ndjson.gz") == name_of(Path("clicks.ndjson")) == "clicks.ndjson"


def test_a_bookmark_is_for_this_file_gateway_and_type(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"x" * 70_000)
    kept = Bookmark(tmp_path, file, "http://a", None)
    assert kept.next_line() is None
    kept.keep(501)
    assert Bookmark(tmp_path, file, "http://a", None).next_line() == 501
    assert Bookmark(tmp_path, file, "http://b", None).next_line() is None
    assert Bookmark(tmp_path, file, "http://a", "clicks").next_line() is None
    kept.clear()
    assert Bookmark(tmp_path, file, "http://a", None).next_line() is None


def test_a_bookmark_holds_while_the_file_grows_and_not_when_it_is_another_one(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"x" * 70_000)
    Bookmark(tmp_path, file, "http://a", None).keep(501)
    with file.open("ab") as more:
        more.write(b"more")
    assert Bookmark(tmp_path, file, "http://a", None).next_line() == 501
    file.write_bytes(b"y" * 70_000)
    assert Bookmark(tmp_path, file, "http://a", None).next_line() is None


def test_a_damaged_bookmark_is_none(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"x")
    Bookmark(tmp_path, file, "http://a", None).keep(3)
    (note,) = (tmp_path / "publish").iterdir()
    note.write_text("{", "utf-8")
    assert Bookmark(tmp_path, file, "http://a", None).next_line() is None
