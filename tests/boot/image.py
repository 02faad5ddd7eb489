"""The disk of the machine: Debian 12 as an AMI has it, with the program and the module, and what stands in for EC2."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUITE = "bookworm"
PACKAGES = (
    "linux-image-cloud-amd64,systemd-sysv,udev,dbus,cloud-init,netplan.io,isc-dhcp-client,btrfs-progs,e2fsprogs,"
    "iproute2,kmod,ca-certificates,util-linux-extra"
)
RECIPE = [
    "mmdebstrap",
    "--mode=root",
    "--variant=minbase",
    "--components=main",
    f"--include={PACKAGES}",
    '--aptopt=Acquire::Languages "none"',
    *(f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("man", "doc", "locale")),
    SUITE,
]
CONFIGURATION = """\
datasource_list: [Ec2]
locale: false
ssh_genkeytypes: [ed25519]
"""


def say(text: str) -> None:
    print(f"boot: {text}", flush=True)


def run(*command: object) -> None:
    subprocess.run([str(c) for c in command], check=True, stdin=subprocess.DEVNULL)


def system() -> Path:
    """The tree as Debian makes it, as a tar file; kept."""
    kept = Path(os.environ["BURST_TOOLS"]) / "chroots"
    kept.mkdir(parents=True, exist_ok=True)
    made = kept / f"boot-{hashlib.sha256(repr(RECIPE).encode()).hexdigest()[:16]}.tar"
    if not made.exists():
        say(f"makes {made} with mmdebstrap (a minute or two)")
        with tempfile.TemporaryDirectory(dir=kept) as work:
            run(*RECIPE, f"{work}/system.tar")
            Path(work, "system.tar").rename(made)
    return made


def build(work: Path) -> tuple[Path, Path, Path]:
    """Disk, kernel and initial ramdisk."""
    tree = work / "tree"
    tree.mkdir()
    run("tar", "--numeric-owner", "--xattrs", "-xf", system(), "-C", tree)
    shutil.copy(os.environ["BURST"], tree / "usr/local/bin/burst")
    (tree / "usr/local/bin/burst").chmod(0o755)
    run("python3", "-B", ROOT / "cloud-init/install.py", "install", "--root", tree)
    (tree / "etc/cloud/cloud.cfg.d/50_test.cfg").write_text(CONFIGURATION)
    (tree / "etc/fstab").write_text("LABEL=root / ext4 defaults 0 1\n")
    (tree / "etc/machine-id").write_text("")
    shutil.copy(HERE / "guest/attach-disks", tree / "usr/local/sbin")
    shutil.copy(HERE / "guest/report.py", tree / "usr/local/sbin")
    for unit, by in (("test-attach", "multi-user"), ("test-report", "cloud-init")):
        shutil.copy(HERE / f"guest/{unit}.service", tree / "etc/systemd/system")
        wants = tree / f"etc/systemd/system/{by}.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / f"{unit}.service").symlink_to(f"/etc/systemd/system/{unit}.service")
    disk = work / "base.ext4"
    with open(disk, "wb") as f:
        f.truncate(2 << 30)
    run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", tree, disk)
    kernel, ramdisk = work / "vmlinuz", work / "initrd.img"
    shutil.copy(next((tree / "boot").glob("vmlinuz-*")), kernel)
    shutil.copy(next((tree / "boot").glob("initrd.img-*")), ramdisk)
    shutil.rmtree(tree)
    return disk, kernel, ramdisk
