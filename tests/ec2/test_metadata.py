"""The instance metadata service: asked in version 2 only, and believed only if it answers like one."""

import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from burst import burst
from machine import instance, machine
from metadata_server import TOKEN, Metadata


def plan(archive: Path, at: Path, env: dict[str, str], *args: object) -> dict:
    done = burst("plan", "--json", "--machine", at, *args, archive, at / "target", env=env)
    return json.loads(done.out)


def asked(mode: str, ask: Callable[[Metadata], dict]) -> tuple[dict, Metadata]:
    """What came of asking a service. A machine that is busy enough keeps a good one from answering in time: once more."""
    for _ in range(20):
        with Metadata(mode) as service:
            found = ask(service)
        if mode in ("silent", "drip") or not any("no answer within" in note for note in found["notes"]):
            break
    return found, service


def named(url: str) -> dict[str, str]:
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url}


def test_an_instance(archive: Path, tmp: Path):
    """A proxy is not asked: the service is one hop away or not there."""
    proxies = {
        "http_proxy": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }
    at = machine(tmp, {})
    found, service = asked("good", lambda service: plan(archive, at, named(service.url + "/") | proxies))
    assert found["instance"] == {
        "type": "c7gn.4xlarge",
        "told_by": "metadata service",
        "id": "i-0fedcba9876543210",
        "region": "eu-central-1",
        "zone": "eu-central-1b",
        "account": "123456789012",
    }
    # 50 Gbit/s: 125 connections, and 4 workers.
    assert found["choices"]["in_flight"]["value"] == 129
    assert service.requests == [
        ("PUT", "/latest/api/token", None),
        ("GET", "/latest/dynamic/instance-identity/document", TOKEN),
    ]


TROUBLES = {
    "v1": "gives no token (status 404): version 1 alone is not used",
    "off": "switched off for this instance (status 403",
    "page": "its token is none",
    "page-later": "its identity document is none: not JSON",
    "silent": "no answer within 2 s",
    "drip": "no answer within 2 s",
    "cut": "cannot be reached",
    "expired": "refused its own token (status 401)",
    "moved": "gives no token (status 302)",
    "wrong": "its identity document is none: instanceType is",
}


@pytest.mark.parametrize("mode", TROUBLES)
def test_no_instance(mode: str, archive: Path, tmp: Path):
    """Defaults, a note that says why, and never a document without a token."""
    at = machine(tmp, {})
    begun = time.monotonic()
    found, service = asked(mode, lambda service: plan(archive, at, named(service.url)))
    if "2 s" in TROUBLES[mode]:
        # All of it, with some time for a busy machine: not 2 s for each of several tries.
        assert 2 <= time.monotonic() - begun < 4
    assert found["instance"] is None
    assert found["choices"]["in_flight"] == {
        "value": 16,
        "from": "default",
        "reason": "the speed of the network is not known",
    }
    assert len(found["notes"]) == 1 and TROUBLES[mode] in found["notes"][0], found["notes"]
    assert service.requests[0][:2] == ("PUT", "/latest/api/token")
    assert all(token == TOKEN for method, _, token in service.requests if method == "GET"), service.requests


def test_nobody_listens(archive: Path, tmp: Path):
    with nobody() as url:
        found = plan(archive, machine(tmp, {}), named(url))
    assert found["instance"] is None and "cannot be reached" in found["notes"][0]


@contextmanager
def nobody() -> Iterator[str]:
    """A port that is taken and refuses connections."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{s.getsockname()[1]}"


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/", "http://", "http://[::1", "https://127.0.0.1:1"])
def test_endpoint_that_is_none(url: str, archive: Path, tmp: Path):
    found = plan(archive, machine(tmp, {}), named(url))
    assert found["instance"] is None and "cannot be reached" in found["notes"][0]


def test_forbidden_to_ask(archive: Path, tmp: Path):
    with Metadata("good") as service:
        disabled = {"AWS_EC2_METADATA_DISABLED": "true"}
        found = plan(archive, machine(tmp, {}), named(service.url) | disabled)
        assert found["instance"] is None and service.requests == []
        # Somebody who does not want the instance type to count does not want it asked for either.
        found = plan(archive, tmp, named(service.url), "--no-detect")
        assert found["instance"] is None and service.requests == []


def test_firmware_says_it(archive: Path, tmp: Path):
    """The type is known without the service, also where that is switched off."""
    at = instance(tmp, "m7i.large")
    found, _ = asked("off", lambda service: plan(archive, at, named(service.url)))
    assert found["instance"]["type"] == "m7i.large" and found["instance"]["told_by"] == "firmware (DMI)"
    assert "switched off" in found["notes"][0]
    assert found["choices"]["network"]["value"] == {"baseline": 0.781e9 / 8, "peak": 12.5e9 / 8}


def test_elsewhere_nobody_is_asked(archive: Path, tmp: Path):
    """Without firmware of EC2 there is no question, and so no note about a missing answer."""
    found = plan(archive, machine(tmp, {"sys/class/dmi/id/sys_vendor": "QEMU\n"}), {})
    assert found["instance"] is None and found["notes"] == []


def test_a_restore_asks_only_if_it_must(archive: Path, tmp: Path):
    """What a restore finds out by the service shows in what it expects."""
    attempts = itertools.count()

    def restore(service: Metadata) -> dict:
        done = burst("restore", "--json", archive, tmp / f"t{next(attempts)}", env=named(service.url))
        report = json.loads(done.out)
        # It does not tell why it was not answered.
        late = report["expected"]["network_seconds"] is None
        return report | {"notes": ["no answer within its limit"] if late else []}

    report, service = asked("good", restore)
    assert report["expected"]["network_seconds"] == pytest.approx(report["archive_bytes"] / 50e9 * 8)
    assert len(service.requests) == 2
