"""Burst: restores archives from S3 onto disks. See README.md beside this file for its configuration."""

# What is restored how, is the business of the program: here configuration becomes jobs, and failures become sentences.
# cloud-init from 22.4 on, and any Python that it runs on (so no syntax newer than 3.6).

import json
import logging
import os
import re

from cloudinit import atomic_helper, subp, util
from cloudinit.distros import ALL_DISTROS
from cloudinit.settings import PER_ALWAYS

LOG = logging.getLogger(__name__)

JOBS = "/run/burst"
# Means nothing, and is refused, where a restore names no device.
OF_A_DEVICE = ("wait_seconds", "mount_options", "sink")
SCHEMA = "/usr/share/burst/cloud-init/schema/burst.json"

meta = {
    "id": "cc_burst",
    "name": "Burst",
    "title": "Restore archives from S3 onto disks",
    "description": "Prepares and mounts volumes, and restores archives onto them.",
    "distros": [ALL_DISTROS],
    # At every boot: `burst run` knows what is complete. cloud-init only knows that the module ran, not that it failed.
    "frequency": PER_ALWAYS,
    "examples": ["burst:\n  restores:\n    - source: s3://my-bucket/data.zip\n      path: /data\n"],
    "activate_by_schema_keys": ["burst"],
}


class Failure(Exception):
    """A volume or restore that failed; the text says what and why, without secrets."""


# cloud-init up to 23.1 passes (name, cfg, cloud, log, args), later ones pass name=, cfg=, cloud=, args=; and those take
# a function with five parameters for one of the old kind and complain.
def handle(name, *positional, **named):
    cfg = named["cfg"] if "cfg" in named else positional[0]
    section = cfg.get("burst")
    if section is None:
        LOG.debug("Skipping module named %s: there is no `burst` key", name)
        return
    invalid = {}
    for where, problem in problems(section):
        # What is wrong with one entry costs that entry; anything else makes the meaning of all of it doubtful.
        entry = where[:2] if len(where) > 1 and where[0] in ("volumes", "restores") else ()
        invalid.setdefault(entry, []).append(problem)
    if () in invalid:
        raise ValueError("burst: nothing was done: " + "; ".join(invalid[()]))
    util.ensure_dir(JOBS, mode=0o700)
    tasks, failed, used, absent = list(ordered(section)), [], {}, []
    for kind, index, entry in tasks:
        try:
            if (kind, index) in invalid:
                raise Failure("; ".join(invalid[kind, index]))
            if kind == "volumes":
                prepare(entry)
            elif "device" not in entry and any(below(entry["path"], path) for path in absent):
                # It would fill the file system that is there instead.
                raise Failure("not restored, because the volume that it belongs on is not there")
            else:
                restore(entry, section.get("defaults", {}), used)
        except Failure as e:
            if isinstance(entry, dict) and (kind == "volumes" or "device" in entry) and "path" in entry:
                absent.append(entry["path"])
            text = f"{described(entry)}: {e}"
            if setting(entry, section, "required", True) is False:
                LOG.warning("burst: optional: %s", text)
            else:
                LOG.error("burst: %s", text)
                failed.append(text)
    if failed:
        raise RuntimeError("burst: {} of {} failed: {}.".format(len(failed), len(tasks), "; ".join(failed)))


def ordered(section):
    """Volumes first, as listed; then restores by `order`, those with the same number as listed."""
    for index, volume in enumerate(section.get("volumes", [])):
        yield "volumes", index, volume

    def order(numbered):
        value = numbered[1].get("order", 0) if isinstance(numbered[1], dict) else 0
        return value if isinstance(value, int) else 0

    for index, entry in sorted(enumerate(section.get("restores", [])), key=order):
        yield "restores", index, entry


def setting(entry, section, key, otherwise):
    """What applies to an entry, which may be an invalid one."""
    for mapping in (entry, section.get("defaults")):
        if isinstance(mapping, dict) and key in mapping:
            return mapping[key]
    return otherwise


def below(path, mount_point):
    return os.path.normpath(str(path)).startswith(os.path.normpath(str(mount_point)) + "/")


def described(entry):
    path = entry.get("path") if isinstance(entry, dict) else None
    return redacted(path) if isinstance(path, str) else "an entry without a path"


def prepare(volume):
    command = ["volume", "prepare", "--mount", volume["path"]]
    for key, flag in (("label", "--label"), ("mount_options", "--mount-options"), ("data", "--data")):
        if key in volume:
            command += [flag, volume[key]]
    if "wait_seconds" in volume:
        command += ["--wait", "{}s".format(volume["wait_seconds"])]
    LOG.info("burst: %s: %s", volume["path"], burst(*command, "--json", "--", *volume["devices"]))


def restore(entry, defaults, used):
    job = {"version": 1}
    job.update((key, value) for key, value in defaults.items() if "device" in entry or key not in OF_A_DEVICE)
    job.update(entry)
    if "options" in defaults and "options" in entry:
        job["options"] = dict(defaults["options"], **entry["options"])
    for key in ("required", "order"):
        job.pop(key, None)
    name = job.setdefault("name", name_of(entry["path"]))
    if name in used:
        raise Failure(f"the name {name} is taken by {used[name]}: give one of them another `name`")
    used[name] = entry["path"]
    file = os.path.join(JOBS, name + ".json")
    atomic_helper.write_file(file, json.dumps(job, indent=2) + "\n", mode=0o600, omode="w")
    LOG.info("burst: %s: %s", entry["path"], burst("run", file, "--json"))


def name_of(path):
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path).strip("-.")[:64] or "root"


def burst(*arguments):
    """Runs the program and gives what it reports."""
    if not subp.which("burst"):
        raise Failure("the program `burst` is not installed in {}".format(os.environ.get("PATH", "PATH")))
    try:
        # Without the socket, so that progress is not reported as that of cloud-init itself.
        out, _ = subp.subp(["env", "-u", "NOTIFY_SOCKET", "burst", *arguments])
    except subp.ProcessExecutionError as e:
        lines = [line.strip() for line in str(e.stderr or "").splitlines() if line.strip()]
        said = [line[len("burst: ") :] for line in lines if line.startswith("burst: ")] or lines[-1:]
        sentence = redacted(" ".join(said))[:2000].rstrip(".") or "it said nothing"
        raise Failure(f"{sentence} (exit code {e.exit_code})") from None
    return redacted(out.strip())


def redacted(text):
    """Without what may be secret in a URL: user, password and query."""
    text = re.sub(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^/\s@]*@", r"\1***@", text)
    return re.sub(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s?]*)\?[^\s\"]+", r"\1?***", text)


def problems(section):
    """Where (a tuple of keys) and what (a sentence without any value) is wrong with the configuration."""
    try:
        import jsonschema
    except ImportError:
        LOG.debug("burst: no jsonschema: only what is needed to call the program is checked")
        return list(basic_problems(section))
    with open(SCHEMA) as file:
        schema = json.load(file)
    found = []
    for error in jsonschema.Draft4Validator(schema).iter_errors(section):
        where = tuple(error.absolute_path)
        for key, problem in problem_of(error):
            found.append((where, f"{shown(where + key)}: {problem}"))
    return found


def basic_problems(section):
    if not isinstance(section, dict):
        yield (), "burst: must be a mapping"
        return
    for kind, needed in (("volumes", ("devices", "path")), ("restores", ("source", "path"))):
        entries = section.get(kind, [])
        if not isinstance(entries, list):
            yield (kind,), f"{shown((kind,))}: must be a list"
            continue
        for index, entry in enumerate(entries):
            where = (kind, index)
            if not isinstance(entry, dict) or any(key not in entry for key in needed):
                yield where, "{}: must be a mapping with {}".format(shown(where), " and ".join(needed))


def problem_of(error):
    # The validator's own messages hold the value, which may be secret.
    if error.validator == "additionalProperties":
        known = sorted(error.schema["properties"])
        for key in sorted(str(key) for key in set(error.instance) - set(known)):
            yield (key,), "is not known; these are: " + ", ".join(known)
    elif error.validator == "required":
        # One error each, or one for all: the libraries differ.
        for key in error.validator_value:
            if key not in error.instance and f"'{key}'" in error.message:
                yield (key,), "is missing"
    else:
        yield (), error.schema.get("description", "is not valid")


def shown(where):
    return "burst" + "".join(f"[{part}]" if isinstance(part, int) else "." + part for part in where)
