"""The disk of the machine: Debian 12 as an AMI has it, with the program and the module, and what stands in for EC2."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUITE = "bookworm"
PACKAGES = (
    "linux-image-cloud-amd64,systemd-sysv,udev,dbus,cloud-init,netplan.io,isc-dhcp-client,btrfs-progs,e2fsprogs,"
    "iproute2,kmod,lz4,ca-certificates,util-linux-extra,openssh-server,sudo"
)
RECIPE = [
    "mmdebstrap",
    "--mode=root",
    "--variant=minbase",
    "--components=main",
    f"--include={PACKAGES}",
    '--aptopt=Acquire::Languages "none"',
    *(f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("man", "doc", "locale")),
    # An initial ramdisk for this machine alone: one for all takes long to unpack.
    "--dpkgopt=path-exclude=/usr/share/initramfs-tools/*/btrfs",
    '--essential-hook=mkdir -p "$1"/etc/initramfs-tools/conf.d "$1"/usr/share/initramfs-tools/modules.d'
    ' && printf "MODULES=list\\nCOMPRESS=lz4\\n" >"$1"/etc/initramfs-tools/conf.d/test'
    ' && printf "virtio_pci\\nvirtio_blk\\next4\\n" >"$1"/usr/share/initramfs-tools/modules.d/test',
    SUITE,
]
# What has no business here takes time all the same.
IDLE = """
apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
getty@tty1.service netplan-ovs-cleanup.service serial-getty@ttyS0.service ssh.service systemd-binfmt.service
systemd-logind.service systemd-tmpfiles-clean.timer
""".split()
# The second as the README shows it.
FSTAB = """\
LABEL=root / ext4 defaults 0 0
LABEL=data /data btrfs noatime,nofail,x-systemd.device-timeout=60s,x-systemd.before=cloud-config.service 0 0
"""
# What stands behind the disks of EC2 would have the same labels.
UDEV_RULE = 'KERNEL=="vd[b-d]", ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"\n'
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
    for program in ("mmdebstrap", "qemu-system-x86_64", "mke2fs"):
        assert shutil.which(program), f"{program} is not installed: run tests/setup"
    kept = Path(os.environ["BURST_TOOLS"]) / "chroots"
    kept.mkdir(parents=True, exist_ok=True)
    made = kept / f"boot-{hashlib.sha256(repr(RECIPE).encode()).hexdigest()[:16]}.tar"
    if not made.exists():
        say(f"makes {made} with mmdebstrap (a minute or two)")
        with tempfile.TemporaryDirectory(dir=kept) as work:
            run(*RECIPE, f"{work}/system.tar")
            Path(work, "system.tar").rename(made)
    return made


def install(tree: Path) -> None:
    shutil.copy(os.environ["BURST"], tree / "usr/local/bin/burst")
    (tree / "usr/local/bin/burst").chmod(0o755)
    run("python3", "-B", ROOT / "cloud-init/install.py", "install", "--root", tree)


def build(work: Path, provision: Callable[[Path, Path, Path], None] | None = None) -> tuple[Path, Path, Path]:
    """Disk, kernel and initial ramdisk. `provision` makes a tree with the program from one without, in a directory."""
    debian, tree = work / "debian", work / "tree"
    debian.mkdir()
    run("tar", "--numeric-owner", "--xattrs", "-xf", system(), "-C", debian)
    if provision:
        provision(debian, work, tree)
        shutil.rmtree(debian)
    else:
        install(debian)
        debian.rename(tree)
    (tree / "etc/cloud/cloud.cfg.d/50_test.cfg").write_text(CONFIGURATION)
    (tree / "etc/fstab").write_text(FSTAB)
    (tree / "etc/udev/rules.d/10-test.rules").write_text(UDEV_RULE)
    (tree / "etc/machine-id").write_text("")
    for program in ("attach-disks", "report.py", "watch.py"):
        shutil.copy(HERE / "guest" / program, tree / "usr/local/sbin")
    for unit, by in (("test-attach", "multi-user"), ("test-watch", "multi-user"), ("test-report", "cloud-init")):
        shutil.copy(HERE / f"guest/{unit}.service", tree / "etc/systemd/system")
        wants = tree / f"etc/systemd/system/{by}.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / f"{unit}.service").symlink_to(f"/etc/systemd/system/{unit}.service")
    for unit in IDLE:
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    disk = work / "root.raw"
    with open(disk, "wb") as f:
        f.truncate(2 << 30)
    run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", tree, disk)
    kernel, ramdisk = work / "vmlinuz", work / "initrd.img"
    shutil.copy(next((tree / "boot").glob("vmlinuz-*")), kernel)
    shutil.copy(next((tree / "boot").glob("initrd.img-*")), ramdisk)
    shutil.rmtree(tree)
    return disk, kernel, ramdisk
