"""Packer for tests: Debian's (1.6.6), which is older than the templates, on a copy without what it does not know."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "packages")]
from machine import die_with_parent  # noqa: E402

ROOT = HERE.parents[1]
SOURCE = ROOT / "packer"

# What Packer 1.6.6 refuses: builders were built in, and could not ask for IMDSv2. test_templates.py looks at these parts
# by other means.
UNKNOWN_FILES = ["plugins.pkr.hcl"]
UNKNOWN_TEXT = [
    '  imds_support = "v2.0"\n',
    "  metadata_options {\n"
    '    http_endpoint               = "enabled"\n'
    '    http_tokens                 = "required"\n'
    "    http_put_response_hop_limit = 1\n"
    "  }\n",
]
VARIABLES = {
    "region": "us-east-1",
    "burst_version": "1.2.3",
    "burst_package": "burst.deb",
}


def old_copy(directory):
    """A copy of packer/ that Packer 1.6.6 can read."""
    shutil.copytree(SOURCE, directory, ignore=shutil.ignore_patterns("manifest.json"))
    for name in UNKNOWN_FILES:
        (directory / name).unlink()
    source = directory / "source.pkr.hcl"
    text = source.read_text()
    for unknown in UNKNOWN_TEXT:
        assert text.count(unknown) == 1, f"source.pkr.hcl: expected once:\n{unknown}"
        text = text.replace(unknown, "")
    source.write_text(text)
    (directory / "burst.deb").touch()
    return directory


class Packer:
    def __init__(self, home):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PACKER_", "PKR_", "AWS_"))}
        self.environment = {
            **kept,
            "HOME": str(home),
            "CHECKPOINT_DISABLE": "1",
            "PACKER_CACHE_DIR": str(home / "cache"),
            "PACKER_CONFIG": str(home / "packerconfig"),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            # No question to a metadata service.
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(self, command, directory, *arguments, ok=True, timeout=300, **variables):
        assert shutil.which("packer"), "run tests/setup: the tests need the program packer"
        given = [f"-var={k}={v}" for k, v in variables.items()]
        done = subprocess.run(
            ["packer", command, *arguments, *given, "."],
            cwd=directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            preexec_fn=die_with_parent,
        )
        if ok:
            assert done.returncode == 0, f"packer {command}\n{done.stdout}{done.stderr}"
        return done


@pytest.fixture(scope="session")
def packer(tmp_path_factory):
    return Packer(tmp_path_factory.mktemp("packer-home"))


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    return old_copy(tmp_path_factory.mktemp("packer") / "packer")


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    """Address of an EC2 API."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with open(log, "w") as output:
        server = subprocess.Popen(
            [os.environ["BURST_MOTO"], "-H", "127.0.0.1", "-p", "0"], stdout=output, stderr=output
        )
    try:
        yield from serving(server, log)
    finally:
        server.terminate()
        server.wait(60)


def serving(server, log):
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        match = re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())
        if match:
            yield match[1]
            return
        time.sleep(0.2)
    raise AssertionError(f"moto did not start: {log.read_text()}")
