#!/bin/bash
# The program.
set -euo pipefail

: "${FILES:?}"
install -m 755 "$FILES/burst" /usr/local/bin/burst
/usr/local/bin/burst --version
