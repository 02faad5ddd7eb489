"""Boots a virtual machine as EC2 would, and looks at what became of it: tests/boot/run [--keep]

Debian 12 with its own kernel, systemd, udev and cloud-init under QEMU, without KVM: a boot takes one to five minutes.
Around it: the metadata service (version 2 only) that gives user-data and the credentials of a role, a real S3 server
that checks signatures, and disks with the model names and serial numbers of EC2.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "system")]

import s3_server  # noqa: E402
from image import build, run, say  # noqa: E402
from imds import ADDRESS, Imds  # noqa: E402

CLONE_NEWNET = 0x40000000
BOOT_SECONDS = 1500
UUID = "ec2e1916-9099-7caf-fd21-012345abcdef"
# The machine sees its host there.
HOST = "10.0.2.2"

USER_DATA = """\
#cloud-config
burst:
  defaults:
    options: {endpoint_url: "http://%(host)s:%(port)s"}
  restores:
    - source: s3://archives/data.zip
      device: vol-0123456789abcdef0
      path: /data
    - source: s3://archives/%(second)s
      device: instance-store
      path: /scratch
write_files:
  - path: /etc/burst/jobs/late.json
    permissions: "0600"
    content: |
      {"version": 1, "name": "late", "source": "s3://archives/data.zip", "path": "/late", "wait_seconds": 0,
       "device": "vol-0aaaaaaaaaaaaaaaa", "options": {"endpoint_url": "http://%(host)s:%(port)s"}}
  - path: /etc/systemd/system/burst-restore@late.service.d/test.conf
    content: |
      # So that nothing but udev starts it again.
      [Service]
      RestartSec=1h
runcmd:
  - [systemctl, enable, --now, --no-block, burst-restore@late.service]
"""


def private_network() -> None:
    """An own loopback interface, with the address of the metadata service."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare: a network of its own (root is needed)")
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")


class Machine:
    def __init__(self, work: Path, base: Path, kernel: Path, ramdisk: Path):
        self.work, self.kernel, self.ramdisk = work, kernel, ramdisk
        self.root = work / "root.raw"
        run("cp", "--sparse=always", base, self.root)
        for name in ("data", "scratch", "late"):
            self.blank(name)

    def disk(self, name: str) -> Path:
        return self.work / f"{name}.raw"

    def blank(self, name: str) -> None:
        self.disk(name).unlink(missing_ok=True)
        with open(self.disk(name), "wb") as f:
            f.truncate(1 << 30)

    def boot(self, name: str) -> dict:
        """Until it has told what happened and switched itself off."""
        serial = self.work / f"{name}.log"
        command = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]
        command += ["-m", "1536", "-display", "none", "-no-reboot", "-monitor", "none", "-serial", f"file:{serial}"]
        command += ["-kernel", self.kernel, "-initrd", self.ramdisk, "-uuid", UUID]
        command += ["-append", "root=LABEL=root rw console=ttyS0 net.ifnames=0 mitigations=off"]
        command += ["-smbios", f"type=1,manufacturer=Amazon EC2,product=m7i.large,serial={UUID},uuid={UUID}"]
        for file in (self.root, *map(self.disk, ("data", "scratch", "late"))):
            command += ["-drive", f"file={file},format=raw,if=virtio,cache=unsafe"]
        command += ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56,romfile="]
        command += ["-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r0"]
        begun = time.monotonic()
        with open(self.work / "qemu.log", "ab") as log:
            process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                code = process.wait(BOOT_SECONDS)
            finally:
                process.kill()
                process.wait()
        text = serial.read_text(errors="replace")
        if code or "===REPORT " not in text:
            sys.exit(f"boot {name}: qemu ended with {code} and there is no report:\n{text[-6000:]}")
        report = json.loads(text.split("===REPORT ", 1)[1].split("===\n", 1)[0].split("===\r", 1)[0])
        say(f"{name}: {time.monotonic() - begun:.0f} s, of them {report['uptime']} s until cloud-init was done")
        (self.work / f"{name}.json").write_text(json.dumps(report, indent=1))
        return report


class Checks:
    def __init__(self) -> None:
        self.failed = 0

    def __call__(self, what: str, good: bool, shown: object = "") -> None:
        say(f"  {'ok    ' if good else 'FAILED'} {what}{'' if good else f': {shown}'}")
        self.failed += not good


def small_tree(root: Path) -> None:
    root.mkdir()
    text = b"".join(b"%d: all that a disk may hold\n" % n for n in range(400_000))
    (root / "large").write_bytes(text)
    (root / "noise").write_bytes(os.urandom(1 << 20))
    for n in range(200):
        (root / f"small{n}").write_bytes(text[n : n * 50])
    (root / "link").symlink_to("large")
    for n, path in enumerate(sorted(root.iterdir())):
        os.chown(path, n, n, follow_symlinks=False)
        os.utime(path, ns=(10**18, 10**18 + n), follow_symlinks=False)
    (root / "small7").chmod(0o4755)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave disks and logs where they are, and say where")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    private_network()
    work = Path(tempfile.mkdtemp(prefix="burst-boot-", dir=os.environ.get("BURST_TEST_DIR")))
    try:
        return scenario(work)
    finally:
        if args.keep:
            say(f"left in {work}")
        else:
            shutil.rmtree(work)


def scenario(work: Path) -> int:
    base, kernel, ramdisk = build(work)
    sys.path.insert(0, str(HERE / "guest"))
    from report import digests

    small_tree(work / "tree")
    wanted = digests(work / "tree")
    server = s3_server.s3s_fs(work / "s3")
    program = os.environ["BURST"]
    subprocess.run([program, "snapshot", "-q", work / "tree", work / "data.zip"], check=True)
    server.client.upload_file(str(work / "data.zip"), server.bucket, "data.zip")
    port = server.url.rsplit(":", 1)[1]
    check = Checks()

    def boot(machine: Machine, name: str, second: str = "data.zip") -> dict:
        user_data = USER_DATA % {"host": HOST, "port": port, "second": second}
        imds = Imds(user_data, s3_server.KEY, s3_server.SECRET)
        try:
            report = machine.boot(name)
        finally:
            imds.close()
        check("the credentials came from the metadata service", any("security-credentials/" in p for p in imds.asked))
        return report

    def trees(report: dict, *paths: str) -> None:
        for path in ("/data", "/scratch", "/late"):
            there = report["trees"].get(path)
            if path in paths:
                same = there == {k: v for k, v in json.loads(json.dumps(wanted)).items()}
                check(
                    f"{path} is the tree, with all metadata",
                    same,
                    {k: v for k, v in (there or {}).items()} and "differs",
                )
            else:
                check(f"{path} is not there", there is None)

    try:
        machine = Machine(work, base, kernel, ramdisk)
        say("first boot: an EBS volume, the instance store, and a volume that comes later")
        report = boot(machine, "first")
        check("cloud-init has no errors", report["result"]["errors"] == [], report["result"])
        check("status: done", "status: done" in report["status"]["out"], report["status"])
        check("the late volume was waited for", report["before"] != "active", report["before"])
        check("its unit was started by udev", "active (exited)" in report["late"]["out"], report["late"]["out"])
        trees(report, "/data", "/scratch", "/late")
        for path, (all_of_them, encoded) in report["extents"].items():
            check(f"{path}/large: {encoded} of {all_of_them} extents are stored as they came", encoded == all_of_them)
        check("no unit failed", not report["units"]["out"].strip(), report["units"])
        check("the target is reached", report["target"] == "active", report["target"])

        say("second boot: another instance store, everything else as it was")
        machine.blank("scratch")
        report = boot(machine, "second")
        check("cloud-init has no errors", report["result"]["errors"] == [], report["result"])
        trees(report, "/data", "/scratch", "/late")
        check("/data was not restored again", "nothing to do" in report["log"], report["log"][-2000:])

        say("a first boot with a key that does not exist")
        machine = Machine(work, base, kernel, ramdisk)
        report = boot(machine, "wrong-key", second="none.zip")
        errors = report["result"]["errors"]
        check("one error", len(errors) == 1, errors)
        sentence = "burst: 1 of 2 failed: /scratch: s3://archives/none.zip: "
        check("which says what and where", sentence in str(errors), errors)
        check("status: error", "status: error" in report["status"]["out"], report["status"])
        check("the other is there", "/data" in report["trees"])
    finally:
        server.close()
    say("all well" if not check.failed else f"{check.failed} checks FAILED")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
