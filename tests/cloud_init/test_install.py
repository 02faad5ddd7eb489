"""The installer: what it leaves, in an image and on a machine, before and after upgrades."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CLOUD_INIT
from machine import Machine

INSTALLER = "/root/cloud-init/install.py"
SCHEMA = "/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
DROP_IN = "/etc/cloud/cloud.cfg.d/99_zz_burst.cfg"


@pytest.fixture
def bare(work: Path, suite: str, debian: dict[str, Path]):
    """As the release comes, with the files of the installer beside it."""
    machine = Machine(work / f"bare-{suite}", [debian[suite]])
    machine.start()
    subprocess.run(["cp", "-r", CLOUD_INIT, machine.path("/root/cloud-init")], check=True)
    yield machine
    machine.close()


digests: dict[tuple, str] = {}


def tree(root: Path) -> dict[str, tuple]:
    """Everything of an image but the time of directories and what is not on disk."""
    out = {}
    for at, directories, files in os.walk(root):
        if Path(at) == root:
            directories[:] = [d for d in directories if d not in ("proc", "sys", "dev", "run")]
        for path in (Path(at, name) for name in directories + files):
            st = path.lstat()
            content: object = None
            if stat.S_ISREG(st.st_mode):
                # Reading all of it again and again takes time.
                seen = (st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)
                content = digests.get(seen) or digests.setdefault(seen, hashlib.sha256(path.read_bytes()).hexdigest())
            elif path.is_symlink():
                content = path.readlink()
            out[str(path.relative_to(root))] = (stat.filemode(st.st_mode), st.st_uid, st.st_gid, content)
    return {name: facts for name, facts in out.items() if not name.startswith("var/lib/dpkg/")}


def install(machine: Machine, *arguments: str, code: int = 0) -> str:
    done = machine.run("python3", "-B", INSTALLER, *arguments, code=code)
    return done.out + done.err


def modules(machine: Machine) -> list[str]:
    text = "from cloudinit import util; import json; "
    text += "print(json.dumps(util.read_conf_with_confd('/etc/cloud/cloud.cfg')['cloud_config_modules']))"
    return json.loads(machine.run("python3", "-B", "-c", text).out)


def accepted(machine: Machine) -> bool:
    """Whether cloud-init's own schema looks into `burst`: the good is taken, the bad refused."""
    codes = []
    for path in ("/data", "data"):
        machine.write("/tmp/u", f"#cloud-config\nburst: {{restores: [{{source: /a.zip, path: {path}}}]}}\n")
        codes.append(machine.run("cloud-init", "schema", "--config-file", "/tmp/u", code=None).code)
    machine.path("/tmp/u").unlink()
    return codes == [0, 1]


def test_there_and_back(bare: Machine) -> None:
    root = bare.path("")
    before, listed = tree(root), modules(bare)
    assert "burst" not in listed

    install(bare, "install")
    installed = tree(root)
    assert accepted(bare)
    assert modules(bare) == [*listed[: listed.index("runcmd")], "burst", *listed[listed.index("runcmd") :]]

    for again in ("install", "repair", "install"):
        install(bare, again)
        assert tree(root) == installed, again

    # What was used leaves nothing behind either: the compiled module, for one.
    bare.write("/etc/cloud/cloud.cfg.d/60_burst.cfg", "datasource_list: [None]\nburst: {}\n")
    bare.run("cloud-init", "single", "--name", "burst", "--frequency", "always", code=None)
    bare.path("/etc/cloud/cloud.cfg.d/60_burst.cfg").unlink()
    used = {name for name in tree(root) if name not in installed and "burst" not in name}

    install(bare, "uninstall")
    after = {name: facts for name, facts in tree(root).items() if name not in used}
    assert after == before, set(after.items()) ^ set(before.items())
    install(bare, "uninstall")
    assert modules(bare) == listed
    assert "run install first" in install(bare, "repair", code=1)


def test_upgrade(bare: Machine) -> None:
    """dpkg replaces the files of the package; the repair comes with it."""
    install(bare, "install")
    installed = tree(bare.path(""))
    said = bare.run("dpkg", "--install", "--force-confold,unsafe-io", "/var/cache/cloud-init.deb")
    assert "Traceback" not in said.out + said.err, said
    assert accepted(bare)
    changed = {n for n, facts in tree(bare.path("")).items() if installed.get(n) != facts and "/log/" not in n}
    assert not {n for n in changed if "burst" in n or n in (SCHEMA[1:], DROP_IN[1:])}, changed

    # A new list of modules of the distribution, as a new cloud.cfg brings it.
    text = bare.read("/etc/cloud/cloud.cfg").replace(" - runcmd\n", " - write-files-deferred\n - runcmd\n")
    bare.write("/etc/cloud/cloud.cfg", text)
    install(bare, "repair")
    at = modules(bare).index("burst")
    assert modules(bare)[at - 1 : at + 2] == ["write-files-deferred", "burst", "runcmd"]

    # And one that is different from the one that was kept: uninstalling must not bring the old one back.
    document = json.loads(bare.read(SCHEMA))
    document["$defs"]["new_one"] = {}
    bare.write(SCHEMA, json.dumps(document))
    install(bare, "repair")
    assert accepted(bare)
    install(bare, "uninstall")
    document = json.loads(bare.read(SCHEMA))
    assert "new_one" in document["$defs"] and "burst" not in json.dumps(document)


@pytest.mark.parametrize("suite", ["bookworm"], indirect=True)
def test_from_outside(bare: Machine) -> None:
    """Into the tree of an image, by another machine's Python, as an image is built."""
    before = tree(bare.path(""))
    # Where the tree is mounted, but with this machine's root.
    command = ["nsenter", f"--target={bare.init}", "--mount", sys.executable, CLOUD_INIT / "install.py"]
    command += ["--root", bare.base / "root"]
    subprocess.run([*command, "install"], check=True)
    assert accepted(bare)
    subprocess.run([*command, "uninstall"], check=True)
    assert tree(bare.path("")) == before


@pytest.mark.parametrize("suite", ["trixie"], indirect=True)
def test_refusals(bare: Machine) -> None:
    # A list that would win over that of the installer.
    bare.write("/etc/cloud/cloud.cfg.d/99_zzz.cfg", "cloud_config_modules: [runcmd]\n")
    assert "another file" in install(bare, "install", code=1)
    bare.path("/etc/cloud/cloud.cfg.d/99_zzz.cfg").unlink()
    install(bare, "repair")
    assert accepted(bare) and "burst" in modules(bare)
    bare.run("rm", "/etc/cloud/cloud.cfg")
    assert "no cloud-init here" in install(bare, "install", code=1)
    # Gone, like after an apt purge: nothing to repair, which is no error for dpkg.
    install(bare, "repair")
