//! Machines as trees of /sys and /proc.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// An empty machine to put files into.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Machine(tempfile::tempdir().unwrap())
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A link from `path` to what `to` is in the machine.
    fn link(self, path: &str, to: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::create_dir_all(self.0.path().join(to)).unwrap();
        symlink(self.0.path().join(to), path).unwrap();
        self
    }

    /// A disk as sysfs shows it; `numbers` as "259:1".
    fn disk(self, name: &str, numbers: &str, model: &str, serial: &str) -> Self {
        let at = format!("sys/devices/pci/{name}");
        let mut machine = self.with(&format!("{at}/queue/rotational"), "0\n");
        if !model.is_empty() {
            machine = machine
                .with(&format!("{at}/device/model"), &format!("{model:<40}\n"))
                .with(&format!("{at}/device/serial"), &format!("{serial}\n"));
        }
        machine.link(&format!("sys/class/block/{name}"), &at).link(&format!("sys/dev/block/{numbers}"), &at)
    }

    fn look(&self, target: Option<&Path>) -> Facts {
        look(&Roots::below(self.0.path()), &Service::Disabled, Depth::Quick, target)
    }
}

const EBS: &str = "Amazon Elastic Block Store";
const STORE: &str = "Amazon EC2 NVMe Instance Storage";

#[test]
fn nothing_at_all() {
    let facts = Machine::new().look(Some(Path::new("/nowhere/at/all")));
    assert_eq!(facts.instance, None);
    assert_eq!((facts.cpus.usable, facts.memory.available, facts.memory.limit), (1, 0, None));
    assert!(facts.kernel.encoded_writes().is_err());
    let target = facts.target.unwrap();
    assert!(target.file_system.is_none() && target.devices.is_empty());
}

#[test]
fn instances_by_their_firmware() {
    let nitro = || Machine::new().with("sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
    let facts = nitro()
        .with("sys/class/dmi/id/product_name", "c7gn.16xlarge\n")
        .with("sys/class/dmi/id/board_asset_tag", "i-0123456789abcdef0\n")
        .look(None);
    let instance = facts.instance.unwrap();
    assert_eq!(instance.instance_type.as_deref(), Some("c7gn.16xlarge"));
    assert_eq!(instance.id.as_deref(), Some("i-0123456789abcdef0"));
    assert!(facts.notes.is_empty(), "{:?}", facts.notes);
    // No plausible type there.
    let facts = nitro().with("sys/class/dmi/id/product_name", "<script>\n").look(None);
    assert_eq!(facts.instance.unwrap().instance_type, None);
    assert!(facts.notes[0].contains("AWS_EC2_METADATA_DISABLED"));
    let xen = Machine::new()
        .with("sys/hypervisor/uuid", "ec2e1916-9099-7caf-fd21-012345abcdef\n")
        .with("sys/class/dmi/id/sys_vendor", "Xen\n")
        .with("sys/class/dmi/id/product_name", "HVM domU\n");
    assert_eq!(xen.look(None).instance.unwrap().instance_type, None);
    let xen = Machine::new()
        .with("sys/class/dmi/id/sys_vendor", "Xen\n")
        .with("sys/class/dmi/id/bios_version", "4.11.amazon\n");
    assert!(xen.look(None).instance.is_some());
    for vendor in ["Xen", "QEMU", "Dell Inc.", "Amazon"] {
        let other = Machine::new()
            .with("sys/class/dmi/id/sys_vendor", vendor)
            .with("sys/class/dmi/id/product_name", "m5.large")
            .with("sys/hypervisor/uuid", "00000000-0000-0000-0000-000000000000");
        assert_eq!(other.look(None).instance, None, "{vendor}");
    }
}

fn with_status(machine: Machine, cpus: &str, capabilities: &str) -> Machine {
    machine
        .with("proc/self/status", &format!("Name:\tx\nCapEff:\t{capabilities}\nCpus_allowed_list:\t{cpus}\n"))
        .with("sys/devices/system/cpu/online", "0-15\n")
        .with("proc/meminfo", "MemTotal:       33554432 kB\nMemFree: 1 kB\nMemAvailable:   25165824 kB\n")
}

const GIB: u64 = 1 << 30;

#[test]
fn limits_of_the_machine() {
    let facts = with_status(Machine::new(), "0-3,8,10-11", "000001ffffffffff")
        .with("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
        .look(None);
    assert_eq!((facts.cpus.usable, facts.cpus.online, facts.cpus.quota), (7, 16, None));
    assert_eq!((facts.memory.total, facts.memory.available, facts.memory.limit), (32 * GIB, 24 * GIB, None));
    assert_eq!(facts.kernel.encoded_writes(), Ok(()));
    for (release, capabilities) in [("5.17.3", "000001ffffffffff"), ("6.1.0", "0000000000000000"), ("", "0")] {
        let facts =
            with_status(Machine::new(), "0", capabilities).with("proc/sys/kernel/osrelease", release).look(None);
        assert!(facts.kernel.encoded_writes().is_err(), "{release}");
    }
}

#[test]
fn limits_of_control_groups() {
    // Version 2: the tightest of all groups above counts; caches can be given back.
    let facts = with_status(Machine::new(), "0-15", "0")
        .with("proc/self/cgroup", "0::/system.slice/burst.service\n")
        .with("sys/fs/cgroup/system.slice/cpu.max", "250000 100000\n")
        .with("sys/fs/cgroup/system.slice/burst.service/cpu.max", "max 100000\n")
        .with("sys/fs/cgroup/system.slice/memory.max", "4294967296\n")
        .with("sys/fs/cgroup/system.slice/memory.current", "3221225472\n")
        .with("sys/fs/cgroup/system.slice/memory.stat", "anon 1\nfile 2147483648\n")
        .with("sys/fs/cgroup/system.slice/burst.service/memory.max", "max\n")
        .look(None);
    assert_eq!((facts.cpus.usable, facts.cpus.quota), (2, Some(2.5)));
    assert_eq!((facts.memory.limit, facts.memory.available), (Some(4 * GIB), 3 * GIB));
    // Version 1, and a container that sees its own group at the mount although its path is the host's.
    let facts = with_status(Machine::new(), "0-15", "0")
        .with("proc/self/cgroup", "9:name=systemd:/\n5:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n")
        .with("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
        .with("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
        .with("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n")
        .with("sys/fs/cgroup/memory/memory.usage_in_bytes", "268435456\n")
        .look(None);
    assert_eq!((facts.cpus.usable, facts.cpus.quota), (1, Some(0.5)));
    assert_eq!((facts.memory.limit, facts.memory.available), (Some(GIB), GIB / 4 * 3));
    // No limits, in the words of both versions; and nonsense.
    let facts = with_status(Machine::new(), "0-15", "0")
        .with("proc/self/cgroup", "5:memory:/\n2:cpu:/\n0::/a\nnonsense\n3:cpu:/../../etc\n")
        .with("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
        .with("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
        .with("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
        .with("sys/fs/cgroup/a/cpu.max", "max 100000\n")
        .with("sys/fs/cgroup/a/memory.max", "lots\n")
        .look(None);
    assert_eq!((facts.cpus.usable, facts.cpus.quota, facts.memory.limit), (16, None, None));
}

/// The device names of a target, with what they are.
fn devices(facts: &Facts) -> Vec<(&str, &DeviceKind)> {
    facts.target.as_ref().unwrap().devices.iter().map(|d| (d.name.as_str(), &d.kind)).collect()
}

#[test]
fn a_target_on_ebs() {
    let place = tempfile::tempdir().unwrap();
    let at = fs::canonicalize(place.path()).unwrap();
    let machine = Machine::new()
        .disk("nvme0n1", "259:0", EBS, "vol0aaaaaaaaaaaaaaaa")
        .disk("nvme1n1", "259:1", EBS, "vol0123456789abcdef0")
        .with("sys/devices/pci/nvme0n1/nvme0n1p1/partition", "1\n")
        .link("sys/dev/block/259:2", "sys/devices/pci/nvme0n1/nvme0n1p1")
        .with(
            "proc/self/mountinfo",
            &format!(
                "22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
                 garbage\n\
                 40 22 0:45 /sub {} rw,noatime shared:20 master:1 - btrfs /dev/nvme1n1 rw,subvol=/sub\n",
                at.display()
            ),
        );
    let facts = machine.look(Some(&at.join("not/there/yet")));
    let target = facts.target.as_ref().unwrap();
    assert_eq!((target.file_system.as_deref(), target.mounted_at.as_deref()), (Some("btrfs"), Some(at.as_path())));
    assert_eq!(devices(&facts), [("nvme1n1", &DeviceKind::Ebs(Some("vol-0123456789abcdef0".into())))]);
    // The root file system is on a partition.
    let facts = machine.look(Some(Path::new("/")));
    assert_eq!(facts.target.as_ref().unwrap().file_system.as_deref(), Some("ext4"));
    assert_eq!(devices(&facts), [("nvme0n1", &DeviceKind::Ebs(Some("vol-0aaaaaaaaaaaaaaaa".into())))]);
}

#[test]
fn a_target_on_several_disks() {
    // BTRFS over two instance store disks.
    let machine = Machine::new()
        .disk("nvme1n1", "259:1", STORE, "AWS1")
        .disk("nvme2n1", "259:2", STORE, "AWS2")
        .link("sys/fs/btrfs/uuid/devices/nvme1n1", "sys/devices/pci/nvme1n1")
        .link("sys/fs/btrfs/uuid/devices/nvme2n1", "sys/devices/pci/nvme2n1")
        .with("sys/fs/btrfs/features/x", "1")
        .with("proc/self/mountinfo", "22 1 0:30 / / rw - btrfs /dev/nvme2n1 rw\n");
    let store = DeviceKind::InstanceStore;
    assert_eq!(devices(&machine.look(Some(Path::new("/")))), [("nvme1n1", &store), ("nvme2n1", &store)]);
    // ext4 on LVM over an EBS volume whose serial number is none, and a disk without a model.
    let machine = Machine::new()
        .disk("nvme1n1", "259:1", EBS, "vol-xyz")
        .disk("xvdf", "202:80", "", "")
        .link("sys/dev/block/253:0", "sys/devices/virtual/dm-0")
        .link("sys/devices/virtual/dm-0/slaves/nvme1n1", "sys/devices/pci/nvme1n1")
        .link("sys/devices/virtual/dm-0/slaves/xvdf", "sys/devices/pci/xvdf")
        .with("proc/self/mountinfo", "22 1 253:0 / / rw - ext4 /dev/mapper/a rw\n");
    let facts = machine.look(Some(Path::new("/")));
    assert_eq!(devices(&facts), [("nvme1n1", &DeviceKind::Ebs(None)), ("xvdf", &DeviceKind::Other(None))]);
    // Memory has no device.
    let machine = Machine::new().with("proc/self/mountinfo", "22 1 0:30 / / rw - tmpfs tmpfs rw\n");
    assert!(devices(&machine.look(Some(Path::new("/")))).is_empty());
}

#[test]
fn this_machine() {
    let facts = look(&Roots::default(), &Service::Disabled, Depth::Quick, Some(Path::new("/")));
    assert!(facts.cpus.usable >= 1 && facts.cpus.usable <= facts.cpus.online);
    assert!(facts.memory.total > 0 && facts.memory.available <= facts.memory.total);
    assert!(!facts.kernel.release.is_empty());
    assert!(facts.target.unwrap().file_system.is_some());
}
