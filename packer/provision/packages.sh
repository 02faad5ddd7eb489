#!/bin/bash
# What BURST and its cloud-init module use: mkfs.btrfs, and the kernel's file system.
set -euo pipefail

: "${FILES:?}"
if command -v cloud-init >/dev/null; then
    # The machine's own first boot may still hold the package manager. Its result is not this build's matter.
    timeout 300 cloud-init status --wait >/dev/null || true
fi
if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -q install -y --no-install-recommends btrfs-progs ca-certificates python3
elif command -v dnf >/dev/null; then
    dnf -q install -y ca-certificates python3
    if ! command -v mkfs.btrfs >/dev/null; then
        if [ ! -s "$FILES/mkfs.btrfs" ]; then
            echo "This distribution has no btrfs-progs: give mkfs_btrfs_path a mkfs.btrfs without shared libraries." >&2
            exit 1
        fi
        install -m 755 "$FILES/mkfs.btrfs" /usr/local/sbin/mkfs.btrfs
    fi
else
    echo "Neither apt-get nor dnf: this distribution is not supported." >&2
    exit 1
fi
mkfs.btrfs --version
