"""Several network interfaces: found, chosen, and really used."""

import ctypes
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from btrfs_volume import libc, run
from burst import burst, program, snapshot
from machine import instance
from metadata_server import Metadata
from s3_server import KEY, SECRET, Server, free_port

CLONE_NEWNET = 0x40000000
MACS = {"ens5": "0e:49:61:0f:c3:11", "ens6": "0e:49:61:0f:c3:22", "ens7": "0e:49:61:0f:c3:33"}
CARDS = {"ens5": 0, "ens6": 1, "ens7": 1}


def interfaces(state: str = "up") -> dict[str, str]:
    """As sysfs has them; a virtual one has no device."""
    files = {"sys/class/net/lo/address": "00:00:00:00:00:00\n", "sys/class/net/lo/operstate": "unknown\n"}
    for name, mac in MACS.items():
        at = f"sys/class/net/{name}"
        files |= {f"{at}/address": f"{mac}\n", f"{at}/operstate": f"{state}\n", f"{at}/device/vendor": "0x1d0f\n"}
    return files


def metadata(cards: dict[str, int]) -> dict[str, str]:
    base = "meta-data/network/interfaces/macs/"
    listing = {base: "".join(f"{mac}/\n" for mac in MACS.values())}
    return listing | {f"{base}{MACS[name]}/network-card": str(card) for name, card in cards.items()}


@pytest.fixture
def plan(archive: Path, tmp: Path) -> Callable[..., dict]:
    def ask(kind: str, cards: dict[str, int], *args: object, state: str = "up") -> dict:
        at = instance(tmp, kind, interfaces(state))
        found: dict = {}
        # A machine that is busy enough keeps a good service from answering in time: once more.
        for _ in range(20):
            with Metadata("good", {"instanceType": kind}, metadata(cards)) as service:
                named = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url}
                done = burst("plan", "--json", "--machine", at, *args, archive, at / "target", env=named)
            found = json.loads(done.out)
            if not any("no answer within" in note for note in found["notes"]):
                break
        return found

    return ask


def test_one_on_each_card(plan):
    found = plan("p5.48xlarge", CARDS)
    assert found["interfaces"] == [{"name": n, "mac": MACS[n], "card": CARDS[n]} for n in MACS]
    chosen = found["choices"]["interfaces"]
    assert chosen == {"value": ["ens5", "ens6"], "from": "detected", "reason": "one on each of 2 network cards"}
    # 100 Gbit/s each.
    assert found["choices"]["network"]["value"]["peak"] == 2 * 100e9 / 8
    assert found["choices"]["network"]["reason"].endswith("; 2 of 32 network cards are used")


def test_where_there_is_nothing_to_choose(plan):
    """All on one card; a type that has one card only, of which nobody asks more; interfaces that are down."""
    for found in (
        plan("p5.48xlarge", dict.fromkeys(MACS, 0)),
        plan("p5.48xlarge", {}),
        plan("m7i.large", CARDS),
        plan("p5.48xlarge", CARDS, state="down"),
    ):
        assert "interfaces" not in found["choices"] and found["choices"]["network"]["from"] == "detected"
    assert found["interfaces"] == []


def test_what_is_given_wins(plan):
    found = plan("p5.48xlarge", CARDS, "--network-interface", "ens6", "--network-interface", "ens7")
    assert found["choices"]["interfaces"] == {"value": ["ens6", "ens7"], "from": "flag", "reason": "as given"}
    # Both are on card 1.
    assert found["choices"]["network"]["value"]["peak"] == 100e9 / 8


def test_an_interface_that_is_not_there(tmp: Path):
    source = ["s3://archives/tree.zip", "--endpoint-url", "http://127.0.0.1:1", "--no-sign-request"]
    done = burst("verify", "--network-interface", "absent0", *source, code=10)
    assert 'there is no network interface "absent0"' in done.err
    done = burst("verify", "--network-interface", "a/b", *source, code=2)
    assert '--network-interface "a/b": no name of a network interface' in done.err


@contextmanager
def two_links() -> Iterator[tuple[str, ...]]:
    """This thread's new network namespace, and another one with two links here: s0 to c0 and s1 to c1. What runs
    something over there."""
    # It ends when its input does, also if this process is killed; the links go with it.
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        there = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
        run("ip", "link", "set", "lo", "up")
        for n in (0, 1):
            run("ip", "link", "add", f"s{n}", "type", "veth", "peer", "name", f"c{n}", "netns", str(holder.pid))
            run("ip", "address", "add", f"10.78.{n}.1/24", "dev", f"s{n}")
            run(*there, "ip", "address", "add", f"10.78.{n}.2/24", "dev", f"c{n}")
            run("ip", "link", "set", f"s{n}", "up")
            run(*there, "ip", "link", "set", f"c{n}", "up")
            # As on EC2: every interface has a way to everywhere, and one is preferred. Answers may come by either.
            run(*there, "ip", "route", "add", "10.79.0.1", "via", f"10.78.{n}.1", "dev", f"c{n}", "metric", str(10 + n))
        run("ip", "address", "add", "10.79.0.1/32", "dev", "lo")
        run(*there, "sh", "-c", "echo 2 >/proc/sys/net/ipv4/conf/all/rp_filter")
        yield there
    finally:
        holder.stdin.close()
        holder.wait()


def sent(interface: str) -> int:
    """Bytes, since it is there."""
    found = json.loads(subprocess.check_output(["ip", "-json", "-stats", "link", "show", interface]))
    return found[0]["stats64"]["tx"]["bytes"]


def downloads(work: Path) -> dict[str, list[int]]:
    """Bytes that came over either link while an archive was verified, by the interfaces that were named."""
    # Of this thread alone, which ends with what it does.
    assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    (work / "tree").mkdir(parents=True)
    for n in range(4):
        (work / "tree" / f"file{n}").write_bytes(random.Random(n).randbytes(32 << 20))
    snapshot(work / "tree", work / "tree.zip")
    found = {}
    with two_links() as there:
        port = free_port()
        (work / "objects").mkdir()
        keys = ["--access-key", KEY, "--secret-key", SECRET]
        command = [os.environ.get("BURST_S3S_FS", "s3s-fs"), "--host", "0.0.0.0", "--port", str(port), *keys]
        server = Server([*command, str(work / "objects")], port, work / "log")
        try:
            server.client.upload_file(str(work / "tree.zip"), server.bucket, "tree.zip")
            for names in ("", "c0", "c1", "c0,c1"):
                before = [sent(name) for name in ("s0", "s1")]
                subprocess.run(
                    [*there, program(), "verify", "-q", "--in-flight", "8", "s3://archives/tree.zip"],
                    env=os.environ
                    | server.environment
                    | {"AWS_ENDPOINT_URL": f"http://10.79.0.1:{port}", "BURST_NETWORK_INTERFACES": names},
                    check=True,
                    timeout=300,
                )
                found[names] = [sent(name) - old for name, old in zip(("s0", "s1"), before, strict=True)]
        finally:
            server.close()
    return found


def test_traffic_goes_where_it_should(tmp: Path):
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(downloads, tmp / "links").result()
    whole, little = 128 << 20, 1 << 20
    assert found[""][0] > whole and found[""][1] < little, found
    assert found["c0"][0] > whole and found["c0"][1] < little, found
    assert found["c1"][1] > whole and found["c1"][0] < little, found
    both = found["c0,c1"]
    assert sum(both) > whole and min(both) > whole // 8, found
