#!/bin/bash
# cloud-init's module for the key `burst`, the systemd units and the udev rules.
set -euo pipefail

: "${FILES:?}"
python3 "$FILES/cloud-init/install.py" install
