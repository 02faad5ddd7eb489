"""Terraform for tests: the real program, on a copy of terraform/, with the AWS provider's schema and no AWS."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import aws_schema
import provider

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "terraform"
MODULES = sorted(p.name for p in (SOURCE / "modules").iterdir())
EXAMPLES = sorted(p.name for p in (SOURCE / "examples").iterdir())
DIRECTORIES = [f"modules/{name}" for name in MODULES] + [f"examples/{name}" for name in EXAMPLES]


class Terraform:
    def __init__(self, tree, environment):
        self.tree = tree
        self.environment = environment

    def run(self, directory, *arguments, ok=True):
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.tree / directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if ok:
            assert done.returncode == 0, f"terraform {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done

    def test(self, directory, *arguments, ok=True):
        """Events of `terraform test` by kind."""
        done = self.run(directory, "test", "-json", *arguments, ok=False)
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if ok:
            told = [e.get("diagnostic", e["@message"]) for e in events if e["@level"] == "error"]
            assert done.returncode == 0, f"{json.dumps(told, indent=1)}\n{done.stderr}"
        return events


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    assert shutil.which("terraform"), "the tests need the program terraform (1.7 or later)"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "AWS_"))}
    # No configuration of this machine, no question, no network.
    empty = tmp_path_factory.mktemp("terraform-home") / "terraformrc"
    empty.touch()
    return {
        **kept,
        "TF_CLI_CONFIG_FILE": str(empty),
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
    }


@pytest.fixture(scope="session")
def schema():
    path = os.environ.get("BURST_AWS_SCHEMA", "")
    assert path and os.path.exists(path), "run tests/setup: it fetches the package with the AWS provider's schema"
    text = "".join(p.read_text() for p in SOURCE.rglob("*.tf"))
    resources = set(re.findall(r'^resource "(\w+)"', text, re.M))
    data = set(re.findall(r'^data "(\w+)"', text, re.M))
    return aws_schema.Package(path).schema(sorted(resources), sorted(data))


@pytest.fixture(scope="session")
def terraform(tmp_path_factory, environment, schema):
    tree = tmp_path_factory.mktemp("terraform") / "terraform"
    shutil.copytree(SOURCE, tree, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    with provider.running(schema) as reattach:
        terraform = Terraform(tree, {**environment, "TF_REATTACH_PROVIDERS": reattach})
        for directory in DIRECTORIES:
            terraform.run(directory, "init", "-no-color")
        yield terraform
