"""API keys of the store, by the command, against a running server: they count at once, and are dead at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.server import Server, serving, until
from tests.store.postgres import Cluster

_ASKED = 12  # connections, so that both engines are among those that answer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "server", engines=2) as running:
        until(lambda: (running.data / "catalog").exists(), "the store is open")
        yield running


def _key(server: Server, *arguments: str) -> str:
    command = [sys.executable, "-m", "postroad", "key", *arguments, "--config", str(server.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _id(server: Server, label: str) -> str:
    return next(str(key["id"]) for key in json.loads(_key(server, "list", "--json")) if key["label"] == label)


def _statuses(server: Server, key: str, path: str = "/api/v1/transmissions", body: bytes | None = b"{}") -> set[int]:
    """What so many connections answer: 422 means that the key was good, and the body was not."""
    found = set()
    for _ in range(_ASKED):
        request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}{path}", data=body)
        request.add_header("Authorization", key)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request) as answer:
                found.add(answer.status)
        except urllib.error.HTTPError as error:
            found.add(error.code)
            error.close()
    return found


def test_a_key_counts_at_once_and_is_dead_at_once(server: Server) -> None:
    key = _key(server, "create", "shop", "--grant", "transmissions/modify")
    assert len(key) == 40
    assert _statuses(server, key) == {422}
    assert _statuses(server, key, "/api/v1/account", None) == {403}  # control knows it too, and its grants
    assert _statuses(server, server.key) == {422}  # the one of the configuration is valid beside it
    assert key not in _key(server, "list", "--json")
    _key(server, "revoke", _id(server, "shop"))
    assert _statuses(server, key) == {401}
    assert _statuses(server, key, "/api/v1/account", None) == {401}


def test_networks(server: Server) -> None:
    far = _key(server, "create", "far", "--grant", "transmissions/modify", "--network", "192.0.2.0/24")
    near = _key(server, "create", "near", "--grant", "transmissions/modify", "--network", "127.0.0.1")
    assert _statuses(server, far) == {403}
    assert _statuses(server, near) == {422}


def test_keys_outlive_everything(server: Server) -> None:
    """A control that is killed, a server that is killed, a catalog that is lost, and no server at all."""
    first = _key(server, "create", "first", "--grant", "transmissions/modify")
    os.kill(server.children()["control"], signal.SIGKILL)
    assert _statuses(server, first) == {422}  # mail goes on
    server.kill()
    second = _key(server, "create", "second", "--grant", "transmissions/modify")  # nobody there but the store
    _key(server, "revoke", _id(server, "first"))
    (server.data / "catalog").unlink()
    server.start()
    until(lambda: _statuses(server, second) == {422}, "the catalog is made anew")
    assert _statuses(server, first) == {401}


def test_on_postgresql(tmp_path: Path) -> None:
    """With the database server away mail goes on with the keys that are known; the API says 503, and comes back."""
    with Cluster() as cluster:
        url = cluster.create("postroad")
        with serving(tmp_path / "server", engines=2, extra=f'[store]\nurl = "{url}"') as server:
            until(lambda: (server.data / "catalog").exists(), "the store is open")
            key = _key(server, "create", "shop", "--grant", "transmissions/modify", "--grant", "account/manage")
            assert _statuses(server, key) == {422}
            assert _statuses(server, key, "/api/v1/account", None) == {200}
            assert not (server.data / "postroad.db").exists()
            cluster.stop()
            assert _statuses(server, key) == {422}
            assert _statuses(server, key, "/api/v1/account", None) == {503}
            cluster.start()
            assert _statuses(server, key, "/api/v1/account", None) == {200}
            _key(server, "revoke", _id(server, "shop"))
            assert _statuses(server, key) == {401}
