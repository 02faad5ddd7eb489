"""A machine to provision: a Debian tree below a layer in memory, in mount and process namespaces of its own, with an SSH
server. The tree has what an image of Debian for EC2 has of interest here; it is made once and kept in $BURST_TOOLS."""

import ctypes
import fcntl
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

RECIPE = [
    "mmdebstrap",
    "--mode=root",
    "--variant=apt",
    "--components=main",
    "--include=cloud-init,openssh-server,sudo,ca-certificates,udev,systemd",
    '--aptopt=Acquire::Languages "none"',
]

# Becomes process 1 of the machine and waits; all ends with it.
START = r"""
set -eu
base=$1 tree=$2
mount -t tmpfs -o mode=755,size=4G tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
root=$base/root
mount -t overlay -o "lowerdir=$tree,upperdir=$base/upper,workdir=$base/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
for each in tmp run var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$root/$each"; done
cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
# How this machine reaches its mirror.
apt-config dump | grep -E '^Acquire::https?' >"$root/etc/apt/apt.conf.d/90here" || true
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
echo started
exec sleep infinity
"""

# As EC2 and cloud-init would at the first boot.
PREPARE = r"""
set -eu
ssh-keygen -A >/dev/null
# No password is not a locked account.
useradd --create-home --shell /bin/bash --password '*' admin
echo 'admin ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-cloud-init-users
install -d -m 700 -o admin -g admin /home/admin/.ssh
install -m 600 -o admin -g admin /dev/stdin /home/admin/.ssh/authorized_keys
install -m 600 /etc/ssh/ssh_host_ed25519_key /run/host_key
mkdir -p /run/sshd /var/log/journal/machine
[ -s /etc/machine-id ] || echo 0123456789abcdef0123456789abcdef >/etc/machine-id
echo secret >/var/log/journal/machine/system.journal
# Booted with systemd, and no cloud-init still at work.
mkdir -p /run/systemd/system /run/cloud-init
: >/run/cloud-init/disabled
"""
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
}


def tree():
    """The Debian tree, which nobody may change."""
    name = hashlib.sha256("\0".join(RECIPE).encode()).hexdigest()[:16]
    kept = pathlib.Path(os.environ["BURST_TOOLS"]) / "chroots"
    kept.mkdir(parents=True, exist_ok=True)
    made = kept / f"packer-{name}"
    with open(kept / "packer.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory(prefix="packer-", dir=kept) as work:
                make(pathlib.Path(work) / "root").rename(made)
    return made


def make(root):
    assert shutil.which("mmdebstrap"), "run tests/setup: the tests need the program mmdebstrap"
    # Where this machine itself gets Debian from; mmdebstrap knows if it is not Debian.
    ask = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian", "Identifier: Packages"]
    mirror = sorted(set(subprocess.run(ask, capture_output=True, text=True).stdout.split()))[:1]
    # A mirror may be out of step for a moment.
    for again in (True, False):
        shutil.rmtree(root, ignore_errors=True)
        command = [*RECIPE, "--format=directory", "bookworm", root, *mirror]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1000)
        if done.returncode == 0:
            return root
        assert again, f"mmdebstrap: exit code {done.returncode}\n{done.stderr[-4000:]}"


def die_with_parent():
    """For a child: also when the tests are killed, nothing stays."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Machine:
    def __init__(self, directory: pathlib.Path, debian: pathlib.Path | None = None):
        self.directory = directory
        (directory / "base").mkdir()
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        self.log = open(directory / "log", "w+")
        self.process = subprocess.Popen(
            [*command, "bash", "-c", START, "bash", directory / "base", debian or tree()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            preexec_fn=die_with_parent,
        )
        try:
            said = self.process.stdout.readline()
            assert said == "started\n", (directory / "log").read_text()
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            self.init = children.read_text().split()[0]
            self.key = directory / "key"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True, timeout=60)
            self.run("sh", "-c", PREPARE, input=self.key.with_suffix(".pub").read_text())
            self.port = self.listen()
        except BaseException:
            self.close()
            raise

    def within(self, *command):
        root = self.directory / "base/root"
        return ["nsenter", f"--target={self.init}", "--mount", "--pid", "--", "chroot", root, *command]

    def run(self, *command, input=None):
        done = subprocess.run(
            self.within(*command),
            input=input or "",
            env={**ENVIRONMENT, **{k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{command[0]}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def listen(self):
        """Starts the SSH server on a port that is free."""
        for _ in range(10):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            options = ["-h", "/run/host_key", "-o", f"ListenAddress=127.0.0.1:{port}", "-o", "UsePAM=no"]
            server = subprocess.Popen(
                self.within("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", *options),
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stderr=self.log,
            )
            # It ends at once if somebody else took the port in between.
            for _ in range(600):
                if server.poll() is not None:
                    break
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0 and server.poll() is None:
                        self.server = server
                        return port
                time.sleep(0.1)
        raise AssertionError(f"the SSH server does not start: {(self.directory / 'log').read_text()}")

    def path(self, inside):
        """A file of the machine, for reading."""
        return pathlib.Path(f"/proc/{self.init}/root{self.directory}/base/root{inside}")

    def close(self):
        self.process.kill()
        self.process.wait(60)
        self.process.stdout.close()
        if getattr(self, "server", None):
            self.server.wait(60)
        self.log.close()
