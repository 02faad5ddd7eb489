#!/usr/bin/env python3
"""Writes src/tuning/instance_types.txt, from what the installed moto says about EC2 instance types.

moto keeps the answers of EC2's DescribeInstanceTypes. A test compares the file with what this script makes of the
pinned version. To update: raise the version in tests/requirements.txt, change TAKEN, run this.
"""

import gzip
import json
from importlib.metadata import version
from pathlib import Path

import moto

TAKEN = "2026-11-22"
TABLE = Path(__file__).resolve().parents[2] / "src/tuning/instance_types.txt"
DATA = Path(moto.__file__).parent / "ec2/resources/instance_types.json.gz"

HEAD = """\
# EC2 instance types: sizes and speeds, one line per type, sorted by name (bytes).
# Source: moto {version} (PyPI), {file}; taken {taken}.
# moto is Copyright its authors, licensed under the Apache License 2.0 (github.com/getmoto/moto); its data are answers of
# EC2's DescribeInstanceTypes. Rearranged by tests/ec2/make_instance_types.py; do not edit.
# Columns: name, vCPUs, memory MiB; network card 0: baseline and peak Gbit/s; number of network cards;
# EBS: baseline and maximum MB/s, baseline and maximum IOPS (- = not stated); instance store: COUNTxGB, s = SSD, h = HDD.
"""


def number(value: float) -> str:
    """At most three decimals, none that say nothing."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def line(name: str, it: dict) -> str:
    # Card 0 is the one every instance uses; no type of the pinned version lists another one first.
    cards = it["NetworkInfo"]["NetworkCards"]
    assert cards[0]["NetworkCardIndex"] == 0, name
    fields = [name, str(it["VCpuInfo"]["DefaultVCpus"]), str(it["MemoryInfo"]["SizeInMiB"])]
    fields += [number(cards[0]["BaselineBandwidthInGbps"]), number(cards[0]["PeakBandwidthInGbps"]), str(len(cards))]
    ebs = it["EbsInfo"].get("EbsOptimizedInfo")
    for key in ("BaselineThroughputInMBps", "MaximumThroughputInMBps", "BaselineIops", "MaximumIops"):
        fields.append(number(ebs[key]) if ebs else "-")
    disks = it.get("InstanceStorageInfo", {}).get("Disks", [])
    fields.append("+".join(f"{d['Count']}x{d['SizeInGB']}{d['Type'][0]}" for d in disks) or "-")
    return " ".join(fields)


def table() -> str:
    types = json.loads(gzip.decompress(DATA.read_bytes()))
    head = HEAD.format(version=version("moto"), file=DATA.relative_to(DATA.parents[3]), taken=TAKEN)
    return head + "".join(line(name, types[name]) + "\n" for name in sorted(types))


if __name__ == "__main__":
    TABLE.write_text(table())
    print(f"{TABLE}: {TABLE.stat().st_size} bytes")
