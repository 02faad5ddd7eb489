#!/bin/bash
# Takes out what belongs to the machine that the image was built on: identity, keys, logs, caches. Runs last.
set -euo pipefail

cloud-init clean --logs --seed
if command -v apt-get >/dev/null; then
    apt-get -q clean
    rm -rf /var/lib/apt/lists/*
elif command -v dnf >/dev/null; then
    dnf -q clean all
fi

# Empty, not absent: systemd makes a new one, and does not take each boot for the first.
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys
rm -f /root/.bash_history /home/*/.bash_history
rm -rf /tmp/burst-build /var/tmp/* /run/burst
find /var/log -type f -exec truncate -s 0 {} +
rm -rf /var/log/journal/*
# Not all of a machine: only where this was.
sync -f / /etc /home /root /var
