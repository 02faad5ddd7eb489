//! What the image of a host must not carry: `--preset host`.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::linux::mounts::unescape;

/// Lists of patterns that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// SOURCE is the root of a system that others are to be made from.
    Host,
}

impl Preset {
    /// As lines of a .gitignore file in SOURCE.
    pub fn patterns(self) -> impl Iterator<Item = &'static str> {
        let Preset::Host = self;
        HOST.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    }
}

/// "/x/*" keeps the directory, which a system needs.
pub const HOST: &str = "\
# Of the running kernel, of this boot
/proc/*
/sys/*
/dev/*
/run/*
/tmp/*
/var/tmp/*
/lost+found
# Swap (and every swap file in use, wherever it is)
/swapfile
/swap.img
/swap/*
/var/swap
/var/swapfile
# Caches
/var/cache/apt/*.bin
/var/cache/apt/archives/*.deb
/var/cache/apt/archives/partial/*
/var/cache/dnf/*
/var/cache/libdnf5/*
/var/cache/yum/*
/var/cache/zypp/*
/var/cache/pacman/pkg/*
/var/lib/apt/lists/*
/root/.cache/*
/home/*/.cache/*
# Who this machine is: made anew at the first boot
/etc/machine-id
/var/lib/dbus/machine-id
/etc/ssh/ssh_host_*
/var/lib/systemd/random-seed
/var/lib/systemd/credential.secret
/boot/loader/random-seed
/boot/efi/loader/random-seed
/efi/loader/random-seed
/var/lib/cloud/*
/var/lib/amazon/ssm/*
/var/lib/dhcp/*
/var/lib/dhclient/*
/var/lib/dhcpcd/*
/var/lib/NetworkManager/*.lease
/var/lib/NetworkManager/secret_key
/etc/udev/rules.d/70-persistent-net.rules
# What it did: log files (their directories stay), crashes, what was typed
/var/log/**
!/var/log/**/
/var/log/journal/*
/var/lib/systemd/coredump/*
/var/crash/*
/root/.bash_history
/home/*/.bash_history
# Snapshots that tools keep beside the system
/.snapshots/*
";

/// Device and inode of the swap files in use.
pub fn swap_files() -> Vec<(u64, u64)> {
    let Ok(text) = fs::read("/proc/swaps") else { return Vec::new() };
    let lines = text.split(|&byte| byte == b'\n').skip(1);
    let files = lines.filter_map(|line| line.split(|&byte| byte == b' ').next()).filter(|path| !path.is_empty());
    let found = files.map(|path| PathBuf::from(std::ffi::OsString::from_vec(unescape(path))));
    found.filter_map(|path| fs::metadata(path).ok()).filter(|m| m.is_file()).map(|m| (m.dev(), m.ino())).collect()
}
