"""Keys of sending domains as an engine finds them in its catalog: whose mail they sign, and what can't be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from postroad.auth.dkim import SECRET_FILE, Algorithm, PrivateKey, SealError, own_secret, read_secret, seal
from postroad.serve.domainkeys import CatalogDomainKeys
from postroad.store.access import engine_catalog
from postroad.store.catalog import Catalog
from postroad.store.catalogfile import Place
from postroad.store.seen import SENDING_DOMAIN


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return engine_catalog(tmp_path)


@pytest.fixture
def keys(catalog: Catalog, tmp_path: Path) -> CatalogDomainKeys:
    return CatalogDomainKeys(catalog, tmp_path / SECRET_FILE)


def put(catalog: Catalog, subaccount: int, domain: str, selector: str, secret: bytes, *, shared: bool = False) -> None:
    sealed = seal(PrivateKey.generate(domain, selector, Algorithm.ED25519), secret)
    value: dict[str, Any] = {"shared": shared, "selector": selector, "domain": domain, "key": sealed}
    catalog.values(SENDING_DOMAIN).put(subaccount, domain, msgspec.msgpack.encode(value), Place(0, 0))


def selector(keys: CatalogDomainKeys, domain: str, subaccount: int) -> str:
    signer = keys.signer(domain, subaccount)
    return "" if signer is None else signer.keys[0].selector


def test_whose_mail_a_key_signs(catalog: Catalog, keys: CatalogDomainKeys, tmp_path: Path) -> None:
    secret = own_secret(tmp_path / SECRET_FILE)
    assert not keys
    assert selector(keys, "own.test", 7) == ""
    put(catalog, 7, "own.test", "a", secret)
    put(catalog, 0, "private.test", "b", secret)
    put(catalog, 0, "shared.test", "c", secret, shared=True)
    assert keys
    assert [selector(keys, "own.test", number) for number in (0, 7, 8)] == ["", "a", ""]
    assert [selector(keys, "private.test", number) for number in (0, 7)] == ["b", ""]
    assert [selector(keys, "shared.test", number) for number in (0, 7)] == ["c", "c"]
    assert selector(keys, "below.shared.test", 0) == ""
    # As long as nothing changes it is the same; a change counts for the next message.
    assert keys.signer("own.test", 7) is keys.signer("own.test", 7)
    put(catalog, 7, "own.test", "new", secret)
    put(catalog, 0, "shared.test", "c", secret)
    assert (selector(keys, "own.test", 7), selector(keys, "shared.test", 7)) == ("new", "")
    catalog.values(SENDING_DOMAIN).drop(7, "own.test")
    assert selector(keys, "own.test", 7) == ""


def test_a_key_that_does_not_open_stops_no_mail(catalog: Catalog, keys: CatalogDomainKeys, tmp_path: Path) -> None:
    put(catalog, 0, "a.test", "a", b"x" * 32)
    assert selector(keys, "a.test", 0) == ""  # there is no file at all
    own_secret(tmp_path / SECRET_FILE)
    put(catalog, 0, "b.test", "b", b"y" * 32)
    assert selector(keys, "b.test", 0) == ""  # another secret


def test_the_secret(tmp_path: Path) -> None:
    path = tmp_path / SECRET_FILE
    secret = own_secret(path)
    assert len(secret) == 32 and path.stat().st_mode & 0o777 == 0o600
    assert own_secret(path) == read_secret(path) == secret
    assert [each.name for each in tmp_path.iterdir()] == [SECRET_FILE]
    for text, said in (("zz", "is not hexadecimal"), ("00" * 31, "holds 31 octets"), ("", "holds 0 octets")):
        path.write_text(text)
        with pytest.raises(SealError, match=said):
            own_secret(path)
    with pytest.raises(SealError, match="No such file"):
        read_secret(tmp_path / "none")
    with pytest.raises(SealError, match="can't be written"):
        own_secret(tmp_path / "none" / SECRET_FILE)
