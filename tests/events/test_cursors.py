"""A cursor is on disk whole, or not at all."""

from pathlib import Path

import pytest

from postroad.events.cursors import ConsumerError, CursorFiles


def test_a_cursor_comes_back(tmp_path: Path) -> None:
    files = CursorFiles(tmp_path / "data" / "cursors")
    assert files.names() == [] and files.get("a") is None
    files.put("a", 5 << 32 | 64)
    files.put("b.c-d_e", 7)
    files.put("a", 6 << 32)
    assert files.names() == ["a", "b.c-d_e"]
    again = CursorFiles(tmp_path / "data" / "cursors")
    assert (again.get("a"), again.get("b.c-d_e")) == (6 << 32, 7)
    again.drop("a")
    again.drop("a")
    assert again.names() == ["b.c-d_e"] and again.get("a") is None


def test_what_a_crash_left_half_written_is_not_read(tmp_path: Path) -> None:
    files = CursorFiles(tmp_path)
    files.put("a", 5)
    (tmp_path / "a~new").write_bytes(b'{"cur')
    assert files.names() == ["a"] and files.get("a") == 5
    files.put("a", 6)
    assert files.get("a") == 6 and [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"5", b'{"cursor": "5"}', b'{"cursor": -5}', b"\xff", b"nul"])
def test_a_damaged_cursor_is_an_error_and_not_a_fresh_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ConsumerError, match=r"a: the cursor can't be read .*delete the file to begin anew"):
        CursorFiles(tmp_path).get("a")


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", ".a", "a~new", "a b", "a" * 65, "ä", "a\n"])
def test_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    files = CursorFiles(tmp_path)
    for call in (files.get, files.drop, lambda name: files.put(name, 1)):
        with pytest.raises(ConsumerError, match="is no name for a consumer"):
            call(name)
    assert list(tmp_path.iterdir()) == []


def test_a_cursor_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    files = CursorFiles(tmp_path)
    files.put("a", 5)
    (tmp_path / "a~new").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.put("a", 6)
    assert files.get("a") == 5
