#!/bin/bash
# Whether the image can do what it is for: a tree goes into an archive and comes back onto a real BTRFS, unchanged; and
# cloud-init takes a `burst:` section. The build fails if not.
set -euo pipefail

: "${BURST_VERSION:?}"
work=$(mktemp -d /var/tmp/burst-validate.XXXXXX)
leave() {
    local status=$?
    if mountpoint -q "$work/mnt"; then umount "$work/mnt"; fi
    rm -rf --one-file-system "$work"
    exit "$status"
}
trap leave EXIT

burst --version | tee "$work/version"
if ! grep -qwF "$BURST_VERSION" "$work/version"; then
    echo "The package is not of burst_version $BURST_VERSION: give the version that is installed, or another package." >&2
    exit 1
fi

echo "A file system"
truncate -s 512M "$work/disk"
mkfs.btrfs -q "$work/disk"
mkdir "$work/mnt"
mount -o loop "$work/disk" "$work/mnt"

echo "A tree, through an archive and back"
tree=/usr/share/common-licenses
[ -d "$tree" ] || tree=/usr/share/licenses
burst snapshot "$tree" "$work/tree.zip"
burst verify --content "$work/tree.zip"
burst restore "$work/tree.zip" "$work/mnt/tree"
diff -r --no-dereference "$tree" "$work/mnt/tree"

echo "Units"
systemctl is-enabled burst-restore.target
systemctl cat burst-restore@data.service burst-attached.service >/dev/null

echo "cloud-init"
printf '#cloud-config\nburst:\n  restores:\n    - source: s3://bucket/key\n      path: /data\n' >"$work/good.yaml"
printf '#cloud-config\nburst:\n  restores:\n    - path: data\n' >"$work/bad.yaml"
cloud-init schema --config-file "$work/good.yaml"
# Known to fail: that shows that the section is looked at.
if cloud-init schema --config-file "$work/bad.yaml"; then
    echo "cloud-init takes a wrong burst: section" >&2
    exit 1
fi
