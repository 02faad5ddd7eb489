"""A machine whose process 1 is the systemd of its release, in cgroups of its own."""

import contextlib
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from machine import Machine

# Settings of the kernel are not its own: it may not change them. It begins with basic.target, so without cloud-init.
SYSTEMD = r"""
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
own=$root/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/$(basename "$(dirname "$root")")
mkdir "$own"
echo 0 >"$own/cgroup.procs"
umount "$root/sys/fs/cgroup"
exec unshare --cgroup sh -c '
    mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
    exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        chroot "$1" sh -c "echo started; exec /lib/systemd/systemd --unit=basic.target --log-target=journal >/dev/null 2>&1"
' sh "$root"
"""
WAIT = 120


class SystemdMachine(Machine):
    BECOMES = SYSTEMD

    def start(self) -> None:
        super().start()
        self.until(lambda: self.run("systemctl", "is-active", "basic.target", code=None).code == 0, "basic.target")

    def stop(self) -> None:
        super().stop()
        # The cgroups stay when their processes have gone.
        mounted = self.base / "cgroup"
        mounted.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", mounted], check=True)
        own = Path("/proc/self/cgroup").read_text().split("0::/", 1)[1].split("\n", 1)[0]
        try:
            self.until(lambda: removed(mounted / own / self.base.name), "the end of the processes")
        finally:
            subprocess.run(["umount", mounted], check=True)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Until something is true; the journal is told when it does not become so."""
        end = time.monotonic() + WAIT
        while not condition():
            if time.monotonic() > end:
                journal = self.run("journalctl", "--no-pager", "-n", "100", code=None) if self.process else ""
                raise AssertionError(f"waited in vain for {what}\n{journal}")
            time.sleep(0.2)

    def show(self, unit: str) -> dict[str, str]:
        """What `systemctl show` knows of a unit; it leaves out what is not set."""
        lines = self.run("systemctl", "show", unit).out.splitlines()
        return defaultdict(str, (line.split("=", 1) for line in lines if "=" in line))

    def state(self, unit: str) -> str:
        found = self.show(unit)
        return f"{found['ActiveState']} ({found['SubState']})"


def removed(cgroup: Path) -> bool:
    """Removes a tree of cgroups, as far as there are no processes in it."""
    for at, _, _ in os.walk(cgroup, topdown=False):
        with contextlib.suppress(OSError):
            Path(at).rmdir()
    return not cgroup.exists()
