"""Machines as directories with `sys` and `proc`, for `burst plan --machine`."""

from pathlib import Path


def machine(at: Path, files: dict[str, str]) -> Path:
    """Four CPUs, 16 GiB; and these files."""
    common = {
        "proc/self/status": "CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-3\n",
        "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 12582912 kB\n",
        "proc/sys/kernel/osrelease": "6.12.0\n",
        "sys/devices/system/cpu/online": "0-3\n",
    }
    for name, text in (common | files).items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(text)
    return at


def instance(at: Path, kind: str, files: dict[str, str] | None = None) -> Path:
    """An EC2 instance of the Nitro system, as its firmware says."""
    dmi = {
        "sys/class/dmi/id/sys_vendor": "Amazon EC2\n",
        "sys/class/dmi/id/product_name": f"{kind}\n",
        "sys/class/dmi/id/board_asset_tag": "i-0123456789abcdef0\n",
    }
    return machine(at, dmi | (files or {}))


def on_volume(at: Path, kind: str) -> Path:
    """An instance with all file systems on one EBS volume."""
    instance(at, kind, {"proc/self/mountinfo": "22 1 0:30 / / rw - btrfs /dev/nvme1n1 rw\n"})
    disk = at / "sys/devices/nvme1n1"
    (disk / "device").mkdir(parents=True)
    (disk / "device/model").write_text("Amazon Elastic Block Store              \n")
    (disk / "device/serial").write_text("vol0123456789abcdef0\n")
    (at / "sys/class/block").mkdir(parents=True)
    (at / "sys/class/block/nvme1n1").symlink_to(disk)
    return at
