#!/usr/bin/python3
"""Makes cloud-init know the key `burst`: install.py install|repair|uninstall|register|unregister [--root DIR]

install     copies the module, the schema and the systemd units, and registers them
repair      registers them again after cloud-init was upgraded or its configuration changed
uninstall   removes all of it and puts cloud-init's own schema back

register    for packages, which bring the files and call this whenever cloud-init comes, changes or goes
unregister  undoes that; the files stay

DIR is the root of an image that is being made; it needs what is in it only, no running system. All may be repeated.
The program `burst` itself is not installed by this.
"""

# Needs only Python 3.6 here; what must be known of cloud-init is asked from the Python that cloud-init runs on.

import argparse
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARE = "usr/share/burst/cloud-init"
STATE = "var/lib/burst/cloud-init.json"
ORIGINAL = "var/lib/burst/cloud-init-schema.json"
PROGRAM = "usr/bin/cloud-init"
CONFIG = "etc/cloud/cloud.cfg"
# Of two lists, that of the file whose name sorts last wins: they are not merged.
DROP_IN = "etc/cloud/cloud.cfg.d/99_zz_burst.cfg"
DPKG_HOOK = "etc/dpkg/dpkg.cfg.d/burst"
TARGET_LINK = "etc/systemd/system/multi-user.target.wants/burst-restore.target"
UNITS = "usr/lib/systemd/system"

FILES = {
    "install.py": SHARE + "/install.py",
    "cc_burst.py": SHARE + "/cc_burst.py",
    "schema/burst.json": SHARE + "/schema/burst.json",
    "systemd/burst-restore@.service": UNITS + "/burst-restore@.service",
    "systemd/burst-restore.target": UNITS + "/burst-restore.target",
    "systemd/burst-attached.service": UNITS + "/burst-attached.service",
    "systemd/90-burst.rules": "usr/lib/udev/rules.d/90-burst.rules",
}
HOOK = f"""\
# An upgrade of cloud-init replaces its schema and may change its list of modules.
post-invoke="if [ -f /{SHARE}/install.py ]; then python3 -B /{SHARE}/install.py repair || true; fi"
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["install", "repair", "uninstall", "register", "unregister"])
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.umask(0o022)
    try:
        image = Image(arguments.root.resolve())
        if arguments.within:
            register(image)
        else:
            getattr(image, arguments.action)()
    except (OSError, ValueError) as e:
        sys.exit(f"install.py: {e}")


class Image:
    def __init__(self, root):
        self.root = root
        try:
            self.state = json.loads((root / STATE).read_text())
        except FileNotFoundError:
            self.state = {}

    def install(self):
        if not (self.root / CONFIG).is_file():
            raise ValueError(f"{self.root / CONFIG}: there is no cloud-init here")
        for source, to in FILES.items():
            self.write(to, (HERE / source).read_bytes())
        if (self.root / DPKG_HOOK).parent.is_dir():
            self.write(DPKG_HOOK, HOOK.encode())
        link = self.root / TARGET_LINK
        self.make_directory(link.parent)
        if not link.is_symlink():
            link.symlink_to(f"/{UNITS}/burst-restore.target")
        self.save()
        self.within()

    def repair(self):
        if not (self.root / STATE).exists():
            raise ValueError(f"{self.root}: not installed: run install first")
        # cloud-init may have been removed; then there is nothing to repair.
        if (self.root / CONFIG).is_file() and self.state.get("fingerprint") != self.fingerprint():
            self.within()

    def register(self):
        if not (self.root / CONFIG).is_file() or not (self.root / PROGRAM).exists():
            # Gone: what stood among its files kept dpkg from removing their directories.
            self.unregister()
            package = self.below(self.state.get("package", "usr/lib/python3/dist-packages/cloudinit"))
            drop_ins = (self.root / DROP_IN).parent
            for directory in [package / "config/__pycache__", package / "config", package, drop_ins, drop_ins.parent]:
                remove_if_empty(directory)
            return
        self.save()
        self.repair()

    def uninstall(self):
        for file in [*FILES.values(), DPKG_HOOK, TARGET_LINK]:
            remove(self.root / file)
        self.unregister()

    def unregister(self):
        self.restore_schema()
        for file in [DROP_IN, ORIGINAL, STATE]:
            remove(self.root / file)
        if "package" in self.state:
            config = self.below(self.state["package"]) / "config"
            remove(config / "cc_burst.py")
            for cached in glob.glob(glob.escape(str(config)) + "/__pycache__/cc_burst.*.pyc"):
                remove(Path(cached))
        for directory in reversed(self.state.get("directories", [])):
            remove_if_empty(self.below(directory))

    def within(self):
        """Registers with the image's own cloud-init, which only the image's own Python can import."""
        program = self.root / PROGRAM
        first = program.read_bytes().split(b"\n", 1)[0].decode() if program.exists() else ""
        python = first[2:].split() if first.startswith("#!") and "python" in first else ["/usr/bin/python3"]
        command = [*python, "-B", f"/{SHARE}/install.py", "repair", "--within"]
        if self.root != Path("/"):
            command = ["chroot", str(self.root), *command]
        if subprocess.call(command, stdin=subprocess.DEVNULL):
            raise ValueError("cloud-init does not know `burst` now: see above")

    def restore_schema(self):
        if "schema" not in self.state:
            return
        schema = self.below(self.state["schema"])
        if schema.exists() and digest(schema) == self.state["patched"]:
            write(schema, (self.root / ORIGINAL).read_bytes())
        elif schema.exists():
            # Changed by somebody else since then, or replaced by an upgrade.
            text = without_burst(json.loads(schema.read_text()))
            if text is not None:
                write(schema, text.encode())

    def fingerprint(self):
        """Of everything that the registration depends on or has made."""
        files = [self.root / CONFIG, *sorted((self.root / CONFIG).parent.glob("cloud.cfg.d/*.cfg"))]
        files += [self.root / to for to in sorted(FILES.values())]
        if "package" in self.state:
            files += [self.below(self.state["package"]) / "config/cc_burst.py", self.below(self.state["schema"])]
        total = hashlib.sha256()
        for file in files:
            total.update(f"{file.relative_to(self.root)} {digest(file)}\n".encode())
        return total.hexdigest()

    def below(self, path):
        return self.root / str(path).lstrip("/")

    def write(self, to, content):
        file = self.root / to
        self.make_directory(file.parent)
        if not file.exists() or file.read_bytes() != content:
            write(file, content)
        if to.endswith("install.py"):
            file.chmod(0o755)

    def make_directory(self, directory):
        """Remembers which ones are new, so that uninstall leaves none."""
        new = [d for d in [directory, *directory.parents] if not d.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        known = self.state.setdefault("directories", [])
        known += [f"/{d.relative_to(self.root)}" for d in reversed(new)]

    def save(self):
        self.make_directory((self.root / STATE).parent)
        write(self.root / STATE, (json.dumps(self.state, indent=2) + "\n").encode())


def register(image):
    """Runs in the image, by the Python of cloud-init."""
    import cloudinit

    package = Path(cloudinit.__file__).parent
    schema = package / "config/schemas/schema-cloud-config-v1.json"
    image.state.update(package=str(package), schema=str(schema))
    write(package / "config/cc_burst.py", (image.root / SHARE / "cc_burst.py").read_bytes())
    add_to_schema(image, schema)
    add_to_modules(image)
    image.state["fingerprint"] = image.fingerprint()
    image.save()


def add_to_schema(image, schema):
    """cloud-init's schema allows no unknown keys from 23.4 on; earlier ones would not look into `burst`."""
    original = image.root / ORIGINAL
    if digest(schema) != image.state.get("patched"):
        # New, by an upgrade; or changed by somebody else after this, who keeps all but the key.
        stripped = without_burst(json.loads(schema.read_text()))
        write(original, schema.read_bytes() if stripped is None else stripped.encode())
    document = json.loads(original.read_text())
    section = json.loads((image.root / SHARE / "schema/burst.json").read_text())
    document["$defs"]["cc_burst"] = {"type": "object", "properties": {"burst": section}}
    document["allOf"].append({"$ref": "#/$defs/cc_burst"})
    if document.get("additionalProperties") is False:
        document["properties"]["burst"] = {}
    # The names that lists of modules may hold.
    if "all_modules" in document["$defs"]:
        document["$defs"]["all_modules"]["enum"].append("burst")
    write(schema, (json.dumps(document, indent=2) + "\n").encode())
    image.state["patched"] = digest(schema)


def without_burst(document):
    """Takes the key out of a schema; gives its text, or nothing if it was not there."""
    if document.get("$defs", {}).pop("cc_burst", None) is None:
        return None
    document["allOf"] = [each for each in document["allOf"] if each != {"$ref": "#/$defs/cc_burst"}]
    document.get("properties", {}).pop("burst", None)
    modules = document["$defs"].get("all_modules", {}).get("enum", [])
    modules[:] = [each for each in modules if each != "burst"]
    return json.dumps(document, indent=2) + "\n"


def add_to_modules(image):
    """A drop-in with the whole list as it is now, and `burst` in it."""
    import yaml
    from cloudinit import util

    drop_in, aside = image.root / DROP_IN, image.root / (DROP_IN + ".aside")
    if drop_in.exists():
        drop_in.rename(aside)
    try:
        modules = util.read_conf_with_confd(str(image.root / CONFIG)).get("cloud_config_modules")
        if not isinstance(modules, list):
            raise ValueError(f"{image.root / CONFIG}: there is no list cloud_config_modules")
        modules = [m for m in modules if m != "burst"]
        # After what sets up clock, certificates and packages' sources; before the commands that may need the data.
        names = [m[0] if isinstance(m, list) else m.get("name") if isinstance(m, dict) else m for m in modules]
        modules.insert(names.index("runcmd") if "runcmd" in names else len(names), "burst")
        text = "# Made by install.py of BURST, which makes it anew when cloud-init changes.\n"
        write(drop_in, (text + yaml.safe_dump({"cloud_config_modules": modules})).encode())
    except BaseException:
        if aside.exists():
            aside.rename(drop_in)
        raise
    remove(aside)
    if "burst" not in util.read_conf_with_confd(str(image.root / CONFIG))["cloud_config_modules"]:
        raise ValueError(f"another file in {drop_in.parent} has a cloud_config_modules that wins")


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "absent"


def write(file, content):
    """All of it or nothing, with the mode that was there."""
    mode = file.stat().st_mode & 0o7777 if file.exists() else 0o644
    descriptor, temporary = tempfile.mkstemp(dir=str(file.parent), prefix=".burst-")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
        os.chmod(temporary, mode)
        shutil.move(temporary, str(file))
    except BaseException:
        remove(Path(temporary))
        raise


def remove(file):
    try:
        file.unlink()
    except FileNotFoundError:
        pass


def remove_if_empty(directory):
    try:
        directory.rmdir()
    except OSError:
        pass  # others use it, or it is not there


if __name__ == "__main__":
    main()
