"""Runs in the machine when cloud-init is done: attaches the late volume, and tells everything on the serial line."""

import fcntl
import hashlib
import json
import os
import struct
import subprocess
import time
from pathlib import Path

MOUNTED, OTHER = ("/data", "/scratch", "/late"), "/none"
LATE = ["vdd", "vol0aaaaaaaaaaaaaaaa", "Amazon Elastic Block Store"]
WAIT = 600


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return {"code": done.returncode, "out": done.stdout[-20000:]}


def digests(root):
    out = {}
    for path in sorted(Path(root).rglob("*")):
        st = path.lstat()
        what = hashlib.blake2b(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        xattrs = {
            n: os.getxattr(path, n, follow_symlinks=False).hex() for n in os.listxattr(path, follow_symlinks=False)
        }
        out[str(path.relative_to(root))] = [st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_mtime_ns, xattrs, what]
    return out


def extents(path):
    """All, and those that are stored encoded (FIEMAP, linux/fiemap.h)."""
    count, header = 4096, "=QQLLLL"
    request = bytearray(struct.pack(header, 0, 2**64 - 1, 1, 0, count, 0) + bytes(56 * count))
    with open(path, "rb") as file:
        fcntl.ioctl(file, 0xC020660B, request, True)
    mapped = struct.unpack_from("=L", request, 20)[0]
    flags = [struct.unpack_from("=L", request, 32 + 56 * n + 40)[0] for n in range(mapped)]
    return [mapped, sum(bool(each & 8) for each in flags)]


def runs():
    """What `burst run --json` said to cloud-init at this boot, by path; and that of the unit."""
    found = {}
    for line in open("/var/log/cloud-init.log", errors="replace"):
        # Each boot begins so.
        if " running 'init-local' at " in line:
            found = {}
        start = line.find("{", line.find("[INFO]: burst: /"))
        if "[INFO]: burst: /" in line:
            said = json.loads(line[start:])
            found[said["path"]] = said
    return found


def attach_named():
    """The disk that tells its name, from the host."""
    words = dict(word.split("=", 1) for word in Path("/proc/cmdline").read_text().split() if "=" in word)
    address, port, nqn = words["burst.named"].split(",")
    host = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-0000-0000-000000000002"
    with open("/dev/nvme-fabrics", "w") as fabrics:
        fabrics.write(f"transport=tcp,traddr={address},trsvcid={port},nqn={nqn},hostnqn={host}")
    subprocess.run(["udevadm", "settle"], check=False)


def main():
    report = {"status": run("cloud-init", "status", "--long"), "uptime": Path("/proc/uptime").read_text().split()[0]}
    report["result"] = json.loads(Path("/run/cloud-init/result.json").read_text())["v1"]
    if Path("/etc/burst/jobs/late.json").exists():
        report["before"] = run("systemctl", "is-active", "burst-restore@late.service")["out"].strip()
        attached = run("/usr/local/sbin/attach-disks", *LATE)
        report["attached"] = attached
        for _ in range(WAIT):
            # Active is it a moment before its process ends.
            state = run("systemctl", "show", "--property=SubState", "--value", "burst-restore@late.service")
            if state["out"].strip() == "exited":
                break
            time.sleep(1)
        report["late"] = run("systemctl", "status", "--no-pager", "--full", "burst-restore@late.service")
    mounted = [path for path in MOUNTED if os.path.ismount(path)]
    report["extents"] = {path: extents(path + "/large") for path in mounted if os.path.exists(path + "/large")}
    report["trees"] = {path: digests(path) for path in [*mounted, OTHER] if os.path.isdir(path)}
    report["mounts"] = run("findmnt", "--noheadings", "--raw", "--output", "TARGET,SOURCE,OPTIONS", "-t", "btrfs")
    attach_named()
    report["disks"] = json.loads(run("burst", "volume", "list", "--json")["out"])
    report["units"] = run("systemctl", "--failed", "--no-legend", "--plain")
    report["target"] = run("systemctl", "is-active", "burst-restore.target")["out"].strip()
    report["runs"] = runs()
    report["log"] = run("grep", "-a", "burst", "/var/log/cloud-init.log")["out"]
    report["kernel"] = os.uname().release
    report["journal"] = run("journalctl", "--no-pager", "-b", "-u", "burst-restore@late.service")["out"]
    with open("/dev/ttyS1", "w") as serial:
        serial.write("\n===REPORT " + json.dumps(report) + "===\n")
    # What stops in order is not looked at. File systems are unmounted.
    subprocess.run(["systemctl", "poweroff", "--force"], check=False)


if __name__ == "__main__":
    main()
