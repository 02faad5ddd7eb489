"""A machine without a kernel of its own: a Debian tree in private mount, process and host name namespaces.

It shares the loopback interface with this one, so that it reaches the tests' servers. What it writes goes to a layer of
its own above the tree, which stays when it is switched off; processes, mounts and /run do not.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from s3_server import die_with_parent

TIMEOUT = 300

# Becomes process 1. Its devices are those that programs need, and the disks.
START = r"""
set -eu
root=$1 layers=$2 upper=$3 work=$4 block=$5
shift 5
# The machine that was just switched off may still hold the layer.
n=0
until mount -t overlay -o "lowerdir=$layers,upperdir=$upper,workdir=$work" overlay "$root"; do
    n=$((n + 1)); [ $n -lt 100 ]; sleep 0.2
done
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
[ -z "$block" ] || mount --bind "$block" "$root/sys/block"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
node() { mknod -m "$2" "$root/dev/$1" "$3" "$4" "$5"; }
node null 666 c 1 3; node zero 666 c 1 5; node full 666 c 1 7; node random 666 c 1 8; node urandom 666 c 1 9
node tty 666 c 5 0; node btrfs-control 600 c 10 234
ln -s /proc/self/fd "$root/dev/fd"
for disk; do node "${disk%%=*}" 660 b $((0x$(stat -c %t "${disk#*=}"))) $((0x$(stat -c %T "${disk#*=}"))); done
hostname burst-test
mkdir -p "$root/run/cloud-init"
# As systemd's generator of cloud-init does where it finds a cloud.
: >"$root/run/cloud-init/enabled"
"""
# Said from within, because only then process 1 has the machine's root.
SLEEP = r"""
exec chroot "$root" sh -c 'echo started; exec sleep infinity'
"""


@dataclass
class Done:
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out[-6000:]}\n{self.err[-6000:]}"


class Machine:
    """`disks` are loop devices by the name that they have here, such as sdf."""

    # What process 1 becomes when all is mounted.
    BECOMES = SLEEP

    def __init__(self, base: Path, layers: list[Path], environment: dict[str, str] | None = None):
        self.base, self.layers = base, layers
        self.disks: dict[str, str] = {}
        # In place of /sys/block.
        self.block: Path | None = None
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        self.environment.update(environment or {})
        for name in ("root", "upper", "work"):
            (base / name).mkdir(parents=True)
        self.process: subprocess.Popen | None = None
        self.init = 0

    def start(self) -> None:
        """Switches it on."""
        names = ("root", "upper", "work")
        root, upper, work = (str(self.base / n) for n in names)
        command = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--propagation", "private"]
        command += ["sh", "-c", START + self.BECOMES, "sh", root, ":".join(map(str, self.layers)), upper, work]
        command.append(str(self.block or ""))
        command += [f"{name}={device}" for name, device in self.disks.items()]
        with open(self.base / "start.log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, preexec_fn=die_with_parent
            )
        said = self.process.stdout.readline()
        assert said == b"started\n", f"the machine did not start: {(self.base / 'start.log').read_text()}"
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.init = int(children.read_text().split()[0])

    def stop(self) -> None:
        """Switches it off, without any warning to what runs on it."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        # A disk that was mounted is released when the last process of the machine has gone.
        shutil.rmtree(self.base, ignore_errors=True)

    def run(self, *command: object, code: int | None = 0) -> Done:
        assert self.process, "the machine is off"
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--uts", "--root"]
        enter.append(f"--wd=/proc/{self.init}/root")
        done = subprocess.run(
            [*enter, "--", *map(str, command)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
        result = Done(done.returncode, done.stdout, done.stderr)
        assert code in (None, result.code), f"{' '.join(map(str, command))}: {result}"
        return result

    def path(self, inside: str) -> Path:
        """A file of the machine as this process sees it, also on what is mounted there."""
        assert self.process, "the machine is off"
        return Path(f"/proc/{self.init}/root{inside}")

    def write(self, inside: str, content: str | bytes, mode: int = 0o644) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    def read(self, inside: str) -> str:
        return self.path(inside).read_text(errors="replace")

    def boot(self, user_data: str | bytes | None = None, instance: str = "i-0123456789abcdef0") -> dict:
        """What systemd does with cloud-init at a boot; gives result.json."""
        if user_data is not None:
            self.write("/var/lib/cloud/seed/nocloud/user-data", user_data, 0o600)
            self.write("/var/lib/cloud/seed/nocloud/meta-data", f"instance-id: {instance}\n")
        stages = (["init", "--local"], ["init"], ["modules", "--mode", "config"], ["modules", "--mode", "final"])
        self.console = [self.run("cloud-init", *stage, code=None) for stage in stages]
        return json.loads(self.read("/run/cloud-init/result.json"))["v1"]

    def single(self) -> Done:
        """The module alone, as somebody runs it by hand."""
        return self.run("cloud-init", "single", "--name", "burst", "--frequency", "always", code=None)

    def logs(self) -> str:
        return "".join(p.read_text(errors="replace") for p in self.path("/var/log").glob("cloud-init*.log"))


# What a test image says beside Debian's own configuration: where the data is, nothing about the network (it is this
# machine's), and no more modules than are of interest.
CONFIGURATION = """\
datasource_list: [NoCloud]
datasource: {NoCloud: {fs_label: null}}
network: {config: disabled}
apt: {preserve_sources_list: true}
preserve_hostname: true
cloud_init_modules: [write-files]
cloud_config_modules: [ssh-import-id, set-passwords, apt-configure, ntp, timezone, runcmd]
cloud_final_modules: [scripts-user, final-message]
"""


def program() -> Path:
    path = Path(os.environ.get("BURST", Path(__file__).parents[2] / "target/release/burst"))
    assert os.access(path, os.X_OK), f"no program at {path}: cargo build --release, or name it in BURST"
    return path
