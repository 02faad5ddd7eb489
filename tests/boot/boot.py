"""Boots a virtual machine as EC2 would, and looks at what became of it: tests/boot/run [--story] [--cut] [--keep]

Debian 12 with its own kernel (6.1), systemd, udev and cloud-init under QEMU, without KVM. Around it: the metadata service
(version 2 only) that gives user-data and the credentials of a role, a real S3 server that checks signatures, and disks
with the model names and serial numbers of EC2, and one that tells the name of its device, as those of EC2 do. One machine
is booted twice:

1. the first boot: an EBS volume by the sink "device", the instance store by the sink "mount", an object that is not
   there, and a volume that is attached when cloud-init is done;
2. again: what is complete is left alone; the object that was not there has come.

--cut: between them it boots with an empty instance store, as after a stop and a start, and loses its power when a part
of the restore is durable; the last boot goes on with it.
--story: the program comes into the machine by packer/, over SSH, and the user-data from terraform/, as in a fleet.
"""

import argparse
import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from struct import pack

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "system")]

import nvme_target  # noqa: E402
import s3_server  # noqa: E402
import story  # noqa: E402
from gate import PART, Gate  # noqa: E402
from image import build, run, say  # noqa: E402
from imds import ADDRESS, Imds  # noqa: E402

CLONE_NEWNET = 0x40000000
BOOT_SECONDS = 1200
DISKS = ("data", "scratch", "late")
# On the kernel's command line.
SWITCHES_OFF, WATCHES = "burst.test=report", "burst.test=watch"
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
      sink: device
    - source: s3://archives/big.zip
      device: instance-store
      path: /scratch
      sink: mount
      options: {in_flight: 16}
    - source: s3://archives/none.zip
      path: /none
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
    def __init__(self, work: Path, root: Path, kernel: Path, ramdisk: Path, named: nvme_target.Disk):
        self.work, self.root, self.kernel, self.ramdisk, self.named = work, root, kernel, ramdisk, named
        for name in DISKS:
            self.blank(name)

    def disk(self, name: str) -> Path:
        return self.work / f"{name}.raw"

    def blank(self, name: str) -> None:
        self.disk(name).unlink(missing_ok=True)
        with open(self.disk(name), "wb") as f:
            f.truncate(1 << 30)

    def command(self, console: Path, said: Path, arguments: str) -> list[str]:
        command = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]
        command += ["-m", "1536", "-display", "none", "-no-reboot", "-monitor", "none"]
        # The kernel and systemd speak on the first; what the test wants to hear would be mixed up with it.
        command += ["-serial", f"file:{console}", "-serial", f"file:{said}"]
        command += ["-kernel", self.kernel, "-initrd", self.ramdisk, "-uuid", UUID]
        command += ["-append", f"root=LABEL=root rw console=ttyS0 net.ifnames=0 mitigations=off quiet {arguments}"]
        command[-1] += f" burst.named={HOST},{self.named.port},{self.named.nqn}"
        command += ["-smbios", f"type=1,manufacturer=Amazon EC2,product=m7i.large,serial={UUID},uuid={UUID}"]
        for file in (self.root, *map(self.disk, DISKS)):
            command += ["-drive", f"file={file},format=raw,if=virtio,cache=unsafe"]
        command += ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56,romfile="]
        command += ["-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r0"]
        return list(map(str, command))

    def boot(self, name: str, arguments: str, until: str) -> str:
        """Until it says something on the second serial line; then it loses its power if it has not switched itself off.

        What it said after that word, to the end of the line.
        """
        console, said = self.work / f"{name}.log", self.work / f"{name}.said"
        said.touch()
        begun, before, text = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN), ""
        with open(self.work / "qemu.log", "ab") as log:
            process = subprocess.Popen(
                self.command(console, said, arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=s3_server.die_with_parent,
            )
            try:
                while until not in text or "===\n" not in text.split(until, 1)[1].replace("\r", ""):
                    if process.poll() is not None or time.monotonic() - begun > BOOT_SECONDS:
                        shown = console.read_text(errors="replace")[-6000:]
                        sys.exit(f"boot {name}: {until} was not said (qemu: {process.poll()}):\n{shown}")
                    time.sleep(0.2)
                    text = said.read_text(errors="replace")
                if arguments == SWITCHES_OFF:
                    process.wait(BOOT_SECONDS)
            finally:
                process.kill()
                process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        say(f"{name}: {time.monotonic() - begun:.0f} s, {cpu:.0f} s of CPU time")
        return text.split(until, 1)[1].replace("\r", "").split("===\n", 1)[0]

    def report(self, name: str) -> dict:
        report = json.loads(self.boot(name, SWITCHES_OFF, "===REPORT "))
        say(f"{name}: kernel {report['kernel']}; cloud-init was done after {report['uptime']} s")
        (self.work / f"{name}.json").write_text(json.dumps(report, indent=1))
        return report

    def cut(self, name: str) -> int:
        """Boots until a part is durable, and cuts the power."""
        return int(self.boot(name, WATCHES, "===PARTS "))


class Checks:
    def __init__(self) -> None:
        self.failed = 0

    def __call__(self, what: str, good: bool, shown: object = "") -> None:
        say(f"  {'ok    ' if good else 'FAILED'} {what}{'' if good else f': {shown}'}")
        self.failed += not good

    def told(self) -> int:
        """The exit code."""
        say("all well" if not self.failed else f"{self.failed} checks FAILED")
        return 1 if self.failed else 0


def small_tree(root: Path) -> None:
    root.mkdir()
    text = b"".join(b"%d: all that a disk may hold\n" % n for n in range(400_000))
    (root / "large").write_bytes(text)
    (root / "noise").write_bytes(os.urandom(1 << 20))
    for n in range(200):
        (root / f"small{n}").write_bytes(text[n : n * 50])
    (root / "link").symlink_to("large")
    os.link(root / "small9", root / "second-name")
    for n, path in enumerate(sorted(root.iterdir())):
        os.chown(path, n, n, follow_symlinks=False)
        os.utime(path, ns=(10**18, 10**18 + n), follow_symlinks=False)
    (root / "small7").chmod(0o4755)
    os.setxattr(root / "small8", "user.note", b"kept")
    # user::rw-, user:1000:rw-, group::r--, mask::rw-, other::r--
    entries = [(1, 6, 2**32 - 1), (2, 6, 1000), (4, 4, 2**32 - 1), (16, 6, 2**32 - 1), (32, 4, 2**32 - 1)]
    os.setxattr(root / "small8", "system.posix_acl_access", pack("<I", 2) + b"".join(pack("<HHI", *e) for e in entries))
    # cap_net_bind_service+ep
    os.setxattr(root / "small10", "security.capability", pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))


def big_tree(root: Path) -> None:
    """Of several parts."""
    root.mkdir()
    for n in range(5):
        (root / f"noise{n}").write_bytes(os.urandom(PART))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave disks and logs where they are, and say where")
    parser.add_argument("--story", action="store_true", help="with an image by Packer and user-data by Terraform")
    parser.add_argument("--cut", action="store_true", help="with a power cut in the middle of a restore")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = Path(tempfile.mkdtemp(prefix="burst-boot-", dir=os.environ.get("BURST_TEST_DIR")))
    try:
        # Packer's scripts ask Debian for packages: the network is needed until then.
        image = build(work, story.provision if args.story else None)
        private_network()
        return scenario(work, image, args)
    finally:
        if args.keep:
            say(f"left in {work}")
        else:
            shutil.rmtree(work)


def archive(work: Path, name: str, make: Callable[[Path], None]) -> dict:
    """Makes a tree and an archive of it; what the tree is."""
    from report import digests

    make(work / name)
    subprocess.run([os.environ["BURST"], "snapshot", "-q", work / name, work / f"{name}.zip"], check=True)
    return json.loads(json.dumps(digests(work / name)))


def scenario(work: Path, image: tuple[Path, Path, Path], args: argparse.Namespace) -> int:
    named = nvme_target.Disk("Amazon Elastic Block Store", "vol0bbbbbbbbbbbbbbbb", "sdh", 1 << 30)
    machine = Machine(work, *image, named)
    sys.path.insert(0, str(HERE / "guest"))
    small, big = archive(work, "small", small_tree), archive(work, "big", big_tree)
    server = s3_server.s3s_fs(work / "s3")
    gate = Gate(server.url)
    user_data = USER_DATA % {"host": HOST, "port": gate.port}
    if args.story:
        user_data = story.user_data(user_data, work)
    imds = Imds(user_data, s3_server.KEY, s3_server.SECRET)
    check = Checks()

    def put(file: str, key: str) -> None:
        server.client.upload_file(str(work / file), server.bucket, key)

    def trees(report: dict, **wanted: dict) -> None:
        check("nothing else is there", {f"/{name}" for name in wanted} >= set(report["trees"]), list(report["trees"]))
        for name, tree in wanted.items():
            there = report["trees"].get(f"/{name}", {})
            differs = [path for path in {*tree, *there} if tree.get(path) != there.get(path)]
            shown = {path: (tree.get(path), there.get(path)) for path in differs[:5]}
            check(f"/{name}: {len(tree)} entries as they were, with all metadata", not differs, shown)

    def units(report: dict, *failed: str) -> None:
        found = [line.split()[0] for line in report["units"]["out"].splitlines()]
        check(f"units that failed: {', '.join(failed) or 'none'}", found == list(failed), report["units"]["out"])
        check("the target is reached", report["target"] == "active", report["target"])

    def disks(report: dict) -> None:
        """What `burst volume list` knows of them: from the kernel, and asked with NVMe Identify."""
        keys = ("kind", "volume_id", "ec2_name", "in_use")
        found = {tuple(disk[key] for key in keys) for disk in report["disks"] if "nvme" in disk["device"]}
        wanted = {
            ("EBS", "vol-0123456789abcdef0", None, "is mounted at /data"),
            ("EBS", "vol-0aaaaaaaaaaaaaaaa", None, "is mounted at /late"),
            ("EBS", "vol-0bbbbbbbbbbbbbbbb", "/dev/sdh", None),
            ("instance store", None, None, "is mounted at /scratch"),
        }
        check(
            "volume list: EBS with volume ids, the name of one, instance store, where each is mounted",
            found == wanted,
            found,
        )

    def fstab(report: dict, by_systemd: bool) -> None:
        """A line for a volume that does not exist yet holds up nothing; later it is mounted by it."""
        before = report["runs"].get("/data", {}).get("volume", {}).get("was_mounted")
        check(f"/data was mounted {'by its line in fstab' if by_systemd else 'by burst'}", before == by_systemd, before)

    def late(report: dict, state: str) -> None:
        check("the late volume was waited for", report["before"] != "active", report["before"])
        check("its unit was started by udev", "active (exited)" in report["late"]["out"], report["late"]["out"])
        check(f"late: {state}", state in report["journal"], report["journal"])

    try:
        put("small.zip", "data.zip")
        put("big.zip", "big.zip")
        say("first boot: an EBS volume, the instance store, an object that is not there, and a volume that comes later")
        report = machine.report("first")
        check("the credentials came from the metadata service", any("security-credentials/" in p for p in imds.asked))
        errors = report["result"]["errors"]
        sentence = "burst: 1 of 3 failed: /none: s3://archives/none.zip: "
        check("one error, which says what and where", len(errors) == 1 and sentence in str(errors), errors)
        check("also in the status", "status: error" in report["status"]["out"], report["status"])
        check("and in its full length", sentence in report["status"]["out"], report["status"])
        late(report, "restoring s3://archives/data.zip")
        trees(report, data=small, scratch=big, late=small)
        for path, (all_of_them, encoded) in report["extents"].items():
            check(
                f"{path}/large: {encoded} of {all_of_them} extents are stored as they came", 0 < all_of_them == encoded
            )
        check("two files looked at for that", len(report["extents"]) == 2, report["extents"])
        for path in ("/data", "/scratch"):
            run = report["runs"].get(path, {})
            check(
                f"{path}: restored in {run.get('seconds', 0):.2f} s, as burst says", run.get("state") == "restored", run
            )
        units(report, "cloud-config.service")
        disks(report)
        fstab(report, False)

        parts = 0
        if args.cut:
            say("boot with an empty instance store, and a power cut when a part of its restore is durable")
            machine.blank("scratch")
            gate.hold("/big.zip")
            gate.asked.clear()
            parts = machine.cut("cut")
            check(f"parts on the disk: {parts}", parts >= 1)
            check("only the instance store was restored", not [a for a in gate.asked if "data.zip" in a[0]], gate.asked)
            gate.open()

        say("last boot: the object that was not there has come")
        gate.asked.clear()
        put("small.zip", "none.zip")
        report = machine.report("last")
        check("cloud-init has no errors", report["result"]["errors"] == [], report["result"])
        check("status: done", "status: done" in report["status"]["out"], report["status"])
        states = {path: run["state"] for path, run in report["runs"].items()}
        scratch = "restored" if args.cut else "nothing to do"
        wanted = {"/data": "nothing to do", "/scratch": scratch, "/none": "restored"}
        check(f"{states}", states == wanted, report["log"][-3000:])
        asked = {path.rsplit("/", 1)[1] for path, _ in gate.asked}
        check(f"asked for: {asked}", asked == ({"none.zip", "big.zip"} if args.cut else {"none.zip"}))
        if args.cut:
            done = report["runs"].get("/scratch", {}).get("report") or {}
            check(
                f"continued with {done.get('parts_there')} of the parts there", done.get("parts_there") == parts, done
            )
            again = [first for path, first in gate.asked if path.endswith("/big.zip") and first == 0]
            check("which were not asked for again", not again, gate.asked)
        late(report, "nothing to do")
        fstab(report, True)
        trees(report, data=small, scratch=big, late=small, none=small)
        units(report)
    finally:
        named.close()
        imds.close()
        gate.close()
        server.close()
    return check.told()


if __name__ == "__main__":
    sys.exit(main())
