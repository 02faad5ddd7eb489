#!/bin/bash
# The package: the program, cloud-init's module for the key `burst`, the systemd units and the udev rule.
set -euo pipefail

: "${FILES:?}"
if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q install -y --no-install-recommends "$FILES"/*.deb
else
    dnf -q install -y --setopt=install_weak_deps=False "$FILES"/*.rpm
fi
burst --version
