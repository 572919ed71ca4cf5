from __future__ import annotations

from pathlib import Path

import pytest

from postroad.message.links import About, Linked
from postroad.serve.sites import FILE, KeysError, OneSite, link_keys

ABOUT = About("1", "2", "a@b.example", 0)


def test_keys_stay(tmp_path: Path) -> None:
    token = link_keys(tmp_path).signer(ABOUT).token(Linked("f"))
    assert link_keys(tmp_path).read(token, 1)[0] == ABOUT
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_new_key_signs_and_the_old_one_is_read(tmp_path: Path) -> None:
    old = link_keys(tmp_path).signer(ABOUT).token(Linked("f"))
    with (tmp_path / FILE).open("a") as file:
        file.write(f"2 {'ab' * 32}\n")
    keys = link_keys(tmp_path)
    assert keys.read(old, 1)[0] == ABOUT
    (tmp_path / FILE).write_text(f"2 {'ab' * 32}\n")
    assert link_keys(tmp_path).read(keys.signer(ABOUT).token(Linked("f")), 1)[0] == ABOUT


@pytest.mark.parametrize("text", ["", "1\n", "1 zyxwv\n", "1 abcd\n", "999 " + "ab" * 32, "é"])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(KeysError, match=FILE) as error:
        link_keys(tmp_path)
    assert "zyxwv" not in str(error.value).removeprefix(str(tmp_path))


def test_one_site(tmp_path: Path) -> None:
    sites = OneSite("https://click.a.example", link_keys(tmp_path))
    assert sites.site(0, "b.example") is sites.tracking_domain(7, "Click.A.example")
    assert sites.tracking_domain(0, "other.example") is None
