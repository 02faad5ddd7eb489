"""The packages: what is in them, and what they leave on a machine when they come, are used, and go."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import chroots
import pytest
from conftest import ROOT
from machine import Machine, program
from package import build

SCHEMA = "/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
TARGET_LINK = "/etc/systemd/system/multi-user.target.wants/burst-restore.target"
# The oldest C library that the program runs with: that of Amazon Linux 2023 and RHEL 9; Ubuntu 22.04 has 2.35.
BASELINE = (2, 34)
INSTALLED = [
    "/usr/bin/burst",
    "/etc/burst/config.toml",
    "/usr/share/burst/cloud-init/install.py",
    "/usr/share/burst/cloud-init/cc_burst.py",
    "/usr/share/burst/cloud-init/schema/burst.json",
    "/usr/lib/systemd/system/burst-restore@.service",
    "/usr/lib/systemd/system/burst-restore.target",
    "/usr/lib/systemd/system/burst-attached.service",
    "/usr/lib/udev/rules.d/90-burst.rules",
]


def run(*command: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def files(root: Path) -> dict[str, tuple]:
    """Everything of a machine but what is not on disk, and what package managers and Python write for themselves."""
    out = {}
    for at, directories, names in os.walk(root):
        if Path(at) == root:
            directories[:] = [d for d in directories if d not in ("proc", "sys", "dev", "run")]
        for path in (Path(at, name) for name in directories + names):
            st = path.lstat()
            content: object = path.readlink() if path.is_symlink() else None
            if stat.S_ISREG(st.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            out[str(path.relative_to(root))] = (stat.filemode(st.st_mode), st.st_uid, st.st_gid, content)
    own = ("var/lib/dpkg/", "var/log/", "var/cache/")
    return {n: facts for n, facts in out.items() if not n.startswith(own) and "__pycache__" not in n}


def restores(machine: Machine) -> None:
    """A small tree there and back, by the program as it is installed."""
    machine.run("mkdir", "/root/tree")
    for n in range(5):
        machine.write(f"/root/tree/file{n}", f"{n}\n" * 9999)
    machine.run("burst", "snapshot", "/root/tree", "/root/tree.zip")
    machine.run("burst", "restore", "/root/tree.zip", "/root/restored")
    machine.run("diff", "-r", "/root/tree", "/root/restored")
    machine.run("rm", "-r", "/root/tree", "/root/tree.zip", "/root/restored")


def knows(machine: Machine) -> bool:
    """Whether cloud-init looks into the key: a good one is taken, a bad one refused."""
    codes = []
    for path in ("/data", "data"):
        machine.write("/tmp/u", f"#cloud-config\nburst: {{restores: [{{source: /a.zip, path: {path}}}]}}\n")
        codes.append(machine.run("cloud-init", "schema", "--config-file", "/tmp/u", code=None).code)
    machine.path("/tmp/u").unlink()
    return codes == [0, 1]


def test_same_bytes(work: Path, packages: dict[str, Path]) -> None:
    again = build(work / "again", TZ="Asia/Tokyo", LC_ALL="C.UTF-8")
    for kind in ("deb", "rpm", "gz"):
        assert packages[kind].read_bytes() == again[kind].read_bytes(), kind


def test_baseline() -> None:
    symbols = run("objdump", "-T", program())
    needed = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_(2\.[0-9]+)", symbols)}
    assert needed and max(needed) <= BASELINE, max(needed)


def test_lintian(packages: dict[str, Path]) -> None:
    """Nothing at all, also no override that is not needed."""
    command = ["lintian", "--allow-root", "--display-info", "--pedantic", "--fail-on", "error,warning,info,pedantic"]
    assert run(*command, packages["deb"]) == ""


def test_rpmlint(packages: dict[str, Path]) -> None:
    said = run("rpmlint", "-c", ROOT / "cloud-init/package/rpmlint.toml", packages["rpm"])
    found = [line for line in said.splitlines() if re.search(r": [EW]: ", line)]
    assert found == [], said


def test_licences(packages: dict[str, Path]) -> None:
    """Debian's form, and each crate that is linked, with the C code."""
    tar = subprocess.run(["dpkg", "--fsys-tarfile", packages["deb"]], check=True, capture_output=True).stdout
    text = subprocess.run(
        ["tar", "-xO", "./usr/share/doc/burst/copyright"], input=tar, check=True, capture_output=True
    ).stdout.decode()
    paragraphs = [dict(re.findall(r"^(\w[\w-]*): (.*)", p, re.MULTILINE)) for p in text.split("\n\n")]
    assert paragraphs[0]["Format"].endswith("/copyright-format/1.0/")
    texts = {p["License"] for p in paragraphs if set(p) == {"License"}}
    named = {p["Files"]: p for p in paragraphs if "Files" in p}
    for files_of, paragraph in named.items():
        assert paragraph["Copyright"] and set(paragraph["License"].split(" or ")) <= texts, files_of
    command = ["cargo", "tree", "--locked", "-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]
    tree = run(*command, "--manifest-path", ROOT / "Cargo.toml")
    linked = {f"vendor/{name}-{version}/*" for name, version in re.findall(r"^(\S+) v(\S+)", tree, re.MULTILINE)}
    linked = {name for name in linked if not name.startswith("vendor/burst-")}
    assert len(linked) > 50 and linked <= set(named), linked - set(named)
    for name in ("aws-lc", "s2n-tls", "aws-c-s3", "zstd"):
        assert any(n.endswith(f"/{name}/*") for n in named), name


def test_deb(machine: Machine, packages: dict[str, Path]) -> None:
    # Again, because this machine was made without its documentation.
    machine.run("dpkg", "--install", "--force-confold,unsafe-io", "/var/cache/cloud-init.deb")
    before = files(machine.path(""))
    shutil.copy(packages["deb"], machine.path("/burst.deb"))
    machine.run("dpkg", "--install", "--force-unsafe-io", "/burst.deb")
    machine.path("/burst.deb").unlink()
    assert machine.run("dpkg", "--audit").out == "" and machine.run("dpkg", "--verify", "burst").out == ""
    assert machine.run("burst", "--version").out.startswith("burst ")
    listed = machine.run("dpkg", "--listfiles", "burst").out.splitlines()
    assert set(INSTALLED) <= set(listed)
    assert machine.run("dpkg-query", "-W", "-f", "${Conffiles}", "burst").out.split()[0] == "/etc/burst/config.toml"
    machine.run(
        "systemd-analyze", "verify", "--man=no", *[f for f in INSTALLED if f.endswith(("restore.target", ".service"))]
    )
    assert machine.path(TARGET_LINK).is_symlink()
    restores(machine)
    assert knows(machine)

    # Each line of the configuration is a setting that the program takes.
    text = machine.read("/etc/burst/config.toml")
    machine.write("/etc/burst/config.toml", re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE))
    machine.run("burst", "snapshot", "/etc/burst", "/root/a.zip")
    plan = machine.run("burst", "plan", "/root/a.zip", "/root/planned").out
    machine.path("/root/a.zip").unlink()
    assert plan.count("config file") >= len(re.findall(r"^#\w+ = ", text, re.MULTILINE)) - 1, plan

    # cloud-init's own upgrade takes the key out of its schema; the trigger puts it back.
    original = hashlib.sha256((chroots.directory("bookworm") / SCHEMA[1:]).read_bytes()).hexdigest()
    machine.run("dpkg", "--install", "--force-confold,unsafe-io", "/var/cache/cloud-init.deb")
    assert hashlib.sha256(machine.path(SCHEMA).read_bytes()).hexdigest() != original
    assert knows(machine)

    # Ours, again: what was changed by hand stays.
    shutil.copy(packages["deb"], machine.path("/burst.deb"))
    machine.run("dpkg", "--install", "--force-unsafe-io", "/burst.deb")
    machine.path("/burst.deb").unlink()
    assert knows(machine) and not machine.read("/etc/burst/config.toml").startswith(text)

    machine.run("dpkg", "--remove", "burst")
    assert hashlib.sha256(machine.path(SCHEMA).read_bytes()).hexdigest() == original
    left = {n for n in files(machine.path("")) if "burst" in n and n not in before}
    # What systemd's helper keeps until the purge: that the unit is masked, and was enabled.
    left = {n for n in left if not n.startswith(("etc/systemd/system/", "var/lib/systemd/deb-systemd-helper"))}
    assert left == {"etc/burst", "etc/burst/config.toml"}
    machine.run("dpkg", "--purge", "burst")
    after = files(machine.path(""))
    assert after == before, set(after.items()) ^ set(before.items())


def test_tarball(machine: Machine, packages: dict[str, Path]) -> None:
    """Unpacked by hand, where no package manager knows of it."""
    shutil.copy(packages["gz"], machine.path("/burst.tar.gz"))
    machine.run("tar", "-xzf", "/burst.tar.gz", "-C", "/", "--strip-components=1")
    assert [name for name in INSTALLED if not machine.path(name).is_file()] == []
    assert all(machine.path(name).lstat().st_uid == 0 for name in INSTALLED)
    restores(machine)
    machine.run("python3", "-B", "/usr/share/burst/cloud-init/install.py", "register")
    assert knows(machine)


def test_cloud_init_goes(machine: Machine, packages: dict[str, Path]) -> None:
    """Without it the package stays whole, and nothing of the registration is left; when it comes back, it is back."""
    shutil.copy(packages["deb"], machine.path("/burst.deb"))
    machine.run("dpkg", "--install", "--force-unsafe-io", "/burst.deb")
    machine.run("dpkg", "--purge", "cloud-init")
    left = [*machine.path("/usr/lib/python3/dist-packages").glob("cloudinit*"), *machine.path("/etc").glob("cloud*")]
    assert left == [] and not machine.path("/var/lib/burst").exists()
    restores(machine)
    machine.run("dpkg", "--install", "--force-unsafe-io", "/var/cache/cloud-init.deb")
    assert knows(machine)
    # And the other order: the last one to go is ours.
    machine.run("dpkg", "--purge", "burst")
    assert not knows(machine)


STUB = """\
Name: {name}
Version: 1
Release: 1
Summary: A file of cloud-init's, as an upgrade brings it
License: MIT
BuildArch: noarch
%description
%install
mkdir -p %{{buildroot}}/usr/lib/python3.9/site-packages/cloudinit
echo >%{{buildroot}}/usr/lib/python3.9/site-packages/cloudinit/{name}.py
%files
/usr/lib/python3.9/site-packages/cloudinit/{name}.py
"""


@pytest.fixture
def upgrade(work: Path) -> Path:
    """A package with a file where cloud-init has its own."""
    spec = work / "stub.spec"
    spec.write_text(STUB.format(name="upgraded"))
    run("rpmbuild", "--quiet", "-bb", "--define", f"_topdir {work}/rpmbuild", "--define", f"_rpmdir {work}/stubs", spec)
    return next((work / "stubs").rglob("*.rpm"))


def test_rpm(machine: Machine, packages: dict[str, Path], upgrade: Path) -> None:
    """By rpm, in a root without any other package of it: what it needs of others is checked by its name only."""
    needs = run("rpm", "-qp", "--requires", packages["rpm"]).split()
    assert f"libc.so.6(GLIBC_{BASELINE[0]}.{BASELINE[1] + 1})(64bit)" not in needs and "/usr/bin/python3" not in needs
    assert set(INSTALLED) <= set(run("rpm", "-qpl", packages["rpm"]).split())
    assert run("rpm", "-qpc", packages["rpm"]).split() == ["/etc/burst/config.toml"]

    def rpm(*arguments: object) -> None:
        enter = ["nsenter", f"--target={machine.init}", "--mount"]
        run(*enter, "rpm", "--root", machine.base / "root", "--nodeps", *arguments)

    root = machine.path("")
    before = files(root)
    rpm("--install", packages["rpm"])
    assert machine.path(TARGET_LINK).is_symlink()
    restores(machine)
    assert knows(machine)
    # An upgrade of cloud-init: its own schema comes back, and the trigger sees its files.
    shutil.copy(machine.path("/var/lib/burst/cloud-init-schema.json"), machine.path(SCHEMA))
    assert not knows(machine)
    rpm("--install", upgrade)
    assert knows(machine)
    rpm("--erase", "upgraded")
    rpm("--upgrade", "--replacepkgs", packages["rpm"])
    assert knows(machine)
    rpm("--erase", "burst")
    # rpm's records, and what the package `filesystem` of an RPM distribution owns.
    own = (
        "root/.rpmdb",
        "var/lib/rpm",
        "usr/lib/sysimage/rpm",
        "usr/lib/python3.9",
        "usr/share/licenses",
        "usr/share/man/man1",
    )
    assert not list(machine.path("/usr/share/licenses").glob("*"))
    after = {n: facts for n, facts in files(root).items() if not n.startswith(own)}
    assert after == before, set(after.items()) ^ set(before.items())
    assert "burst" not in json.dumps(json.loads(machine.read(SCHEMA)).get("$defs"))
