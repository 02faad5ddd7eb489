"""Loop devices that look to a machine like the NVMe disks of EC2: node names, and what sysfs says of them."""

from collections.abc import Callable
from pathlib import Path

from machine import Machine

GIB = 2


class Ec2Disks:
    """Before the machine is started."""

    def __init__(self, machine: Machine, make: Callable[[], str], base: Path):
        self.machine, self.make = machine, make
        machine.block = base / "block"
        machine.block.mkdir(parents=True)

    def attach_volume(self, serial: str) -> str:
        return self.attach("Amazon Elastic Block Store", serial)

    def attach_instance_store(self) -> str:
        return self.attach("Amazon EC2 NVMe Instance Storage", f"AWS{len(self.machine.disks):017X}")

    def attach(self, model: str, serial: str) -> str:
        name = f"nvme{len(self.machine.disks)}n1"
        self.machine.disks[name] = self.make()
        at = self.machine.block / name
        facts = {"device/model": model, "device/serial": serial, "size": str((GIB << 30) // 512)}
        for file, text in {**facts, "hidden": "0", "ro": "0", "nsid": "1", "queue/discard_max_bytes": "0"}.items():
            (at / file).parent.mkdir(parents=True, exist_ok=True)
            # As sysfs pads them.
            (at / file).write_text(f"{text:<20}\n" if file.startswith("device/") else f"{text}\n")
        (at / "holders").mkdir()
        return name

    def replace(self, name: str) -> None:
        """By another, blank disk, as a stop of the instance does."""
        self.machine.disks[name] = self.make()
