"""The generated parts of the READMEs, and the configuration that they show."""

import re
import subprocess
import sys

import pytest
from conftest import MODULES, SOURCE


def test_tables_are_up_to_date():
    done = subprocess.run([sys.executable, SOURCE / "readme", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_variable_and_output_is_described():
    for path in SOURCE.rglob("*.tf"):
        for kind, name, block in re.findall(r'^(variable|output) "(\w+)" \{\n(.*?)^\}$', path.read_text(), re.M | re.S):
            assert re.search(r'^  description = "[A-Z].*\.?"$', block, re.M), f"{path}: {kind} {name}"


@pytest.mark.parametrize("module", MODULES)
def test_the_example_in_the_readme_is_valid(terraform, module):
    text = re.search(r"```hcl\n(.*?)```", (SOURCE / "modules" / module / "README.md").read_text(), re.S)[1]
    # What it takes from elsewhere.
    text = text.replace("module.archives.arn", '"arn:aws:s3:::my-archives"')
    text = text.replace("module.may_restore.arn", '"arn:aws:iam::123456789012:policy/a"').replace(
        "${var.archive_version}", "a"
    )
    directory = terraform.tree / "shown" / module
    directory.mkdir(parents=True)
    (directory / "main.tf").write_text(text)
    terraform.run(directory, "init", "-no-color")
    terraform.run(directory, "validate", "-no-color")
    # `terraform fmt` lays it out in the same way.
    done = terraform.run(directory, "fmt", "-check", "-diff", ok=False)
    assert done.returncode == 0, done.stdout
