"""Format, validity and the modules' own tests (*.tftest.hcl), with the real Terraform."""

import json
import pathlib

import pytest
from conftest import DIRECTORIES, MODULES, SOURCE


def test_the_schema_is_of_the_providers_that_modules_ask_for(schema):
    assert schema["version"].startswith("6."), "versions.tf asks for >= 6.0, < 7.0"
    missing = [n for kind in ("resources", "data") for n, block in schema[kind].items() if block is None]
    assert not missing


def test_format(terraform):
    done = terraform.run(".", "fmt", "-check", "-diff", "-recursive", ok=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_valid(terraform, directory):
    terraform.run(directory, "validate", "-no-color")


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_own_tests(terraform, directory):
    events = terraform.test(directory)
    summary = next(e["test_summary"] for e in events if e["type"] == "test_summary")
    assert summary["status"] == "pass" and summary["passed"] >= 1 and summary["skipped"] == 0


MISTAKES = {
    "attribute": ('resource "aws_ebs_volume" "a" {\n availability_zone = "a"\n throughputs = 125\n}', '"throughputs"'),
    "nested": (
        'resource "aws_launch_template" "a" {\n metadata_options {\n http_token = "required"\n }\n}',
        '"http_token"',
    ),
    "missing": (
        'resource "aws_volume_attachment" "a" {\n device_name = "/dev/sdf"\n volume_id = "vol-1"\n}',
        '"instance_id" is required',
    ),
    "reference": (
        'resource "aws_ebs_volume" "a" {\n availability_zone = "a"\n}\noutput "a" {\n value = aws_ebs_volume.a.name\n}',
        '"name"',
    ),
    "type": ('resource "aws_elastic_disk" "a" {}', '"aws_elastic_disk"'),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_validate_finds_mistakes(terraform, mistake):
    """That it knows the real schema."""
    text, told = MISTAKES[mistake]
    directory = terraform.tree / "mistakes" / mistake
    directory.mkdir(parents=True)
    (directory / "versions.tf").write_text((SOURCE / "modules/fleet/versions.tf").read_text())
    (directory / "main.tf").write_text(text)
    terraform.run(directory, "init", "-no-color")
    answer = json.loads(terraform.run(directory, "validate", "-json", ok=False).stdout)
    details = [d["summary"] + " " + d.get("detail", "") for d in answer["diagnostics"]]
    assert any(told in detail for detail in details), details


@pytest.mark.parametrize("module", MODULES)
def test_usual_files(module):
    files = {p.name for p in (SOURCE / "modules" / module).iterdir()}
    assert {"main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md", "tests"} <= files


def test_restores_have_one_type():
    """Terraform has no names for types: the modules that hand restores on repeat it."""

    def types(module):
        text = pathlib.Path(SOURCE / "modules" / module / "variables.tf").read_text()
        found = {}
        for name in ("restores", "defaults"):
            block = text[text.index(f'variable "{name}"') :]
            begin = block.index("  type = ")
            found[name] = block[begin : min(block.index(e, begin) for e in ("\n  })\n", "\n  }))\n"))]
        return found

    assert types("fleet") == types("instance") == types("user-data")
