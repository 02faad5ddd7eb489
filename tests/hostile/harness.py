"""Restores into a real BTRFS with canaries all around the target."""

import os
import subprocess

from btrfs_volume import Volume, run
from burst import program
from listing import Listing, listing

MARKER = "user.burst.restored"
SECONDS = 60
# Address space; the program needs a fraction of it, and no number of an archive may make it ask for more.
MEMORY = 4 << 30


class Place:
    """A volume with a target `t` and canaries beside it; a change of anything but `t` is an escape."""

    def __init__(self, volume: Volume):
        self.root, self.target, self.outside = volume.path, volume.path / "t", volume.path / "outside"
        self.outside.mkdir()
        (self.outside / "canary").write_bytes(b"sings")
        (self.outside / "canary").chmod(0o644)
        (self.outside / "directory").mkdir()
        (self.outside / "link").symlink_to("canary")
        (self.root / "canary").write_bytes(b"sings")
        self.before = self.look()
        self.runs = 0

    def look(self) -> tuple[Listing, list[str], list[bool]]:
        # What an absolute name, or one that climbs all the way up, would reach.
        top = [os.path.lexists(p) for p in ("/canary", "/dev/shm/canary")]
        return listing(self.outside), sorted(set(os.listdir(self.root)) - {"t"}), top

    def burst(self, *args: object, stdin: bytes | None = None) -> tuple[int, str]:
        """Exit code and messages; neither a panic nor a signal is ever right."""
        self.runs += 1
        done = subprocess.run(
            ["prlimit", f"--as={MEMORY}", program(), *map(str, args)],
            input=stdin or b"",
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        err = done.stderr.decode(errors="replace")
        assert "panicked" not in err and "overflow" not in err.lower().replace("overflow list", ""), err
        assert done.returncode >= 0, f"signal {-done.returncode}: {err}"
        return done.returncode, err

    def check(self, code: int, err: str) -> None:
        """Nothing outside has changed, and the target is marked as complete exactly if the restore says so."""
        assert self.look() == self.before, "something outside of the target has changed"
        if self.target.is_dir() and not self.target.is_symlink():
            marked = MARKER in os.listxattr(self.target)
            assert marked == (code == 0), f"exit code {code}, and the mark of a complete target: {marked}"
            if code:
                left = run("find", self.target, "-perm", "-4000", "-uid", "0")
                assert not left, f"set-user-ID of root left behind: {left}"
        self.check_message(code, err)

    def check_message(self, code: int, err: str) -> None:
        if code:
            lines = err.splitlines()
            assert len(lines) == 1 and lines[0].startswith("burst: ") and len(lines[0]) < 10_000, err

    def clear(self) -> None:
        if self.target.is_symlink() or self.target.is_file():
            self.target.unlink()
        elif self.target.exists():
            # Also where Python's own would recurse too deeply.
            run("rm", "-rf", self.target)
