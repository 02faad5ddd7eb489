"""checkov, without any network: it finds nothing beside the exceptions that stand in the code with their reasons."""

import json
import os
import re
import shutil
import subprocess

import pytest
from conftest import SOURCE

EXCEPTION = re.compile(r"^ *# checkov:skip=(\w+): ?(.*)$", re.M)


def checkov(directory, home):
    """Findings that fail and that are excepted, as (check, file): [reason, ...]."""
    program = os.environ.get("BURST_CHECKOV", "")
    assert os.access(program, os.X_OK), "run tests/setup: it installs checkov"
    command = ["unshare", "--net", program, "--directory", directory, "--framework", "terraform"]
    done = subprocess.run(
        [*command, "--skip-download", "--output", "json", "--soft-fail"],
        # No configuration of this machine, and no account.
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0 and report["summary"]["passed"] > 0, report["summary"]

    def found(kind):
        all_of_them = {}
        for each in report["results"][kind]:
            # A finding in a module is told for each use of it, too.
            key = each["check_id"], str(each["repo_file_path"]).rsplit("terraform/", 1)[1]
            all_of_them.setdefault(key, []).append(each["check_result"].get("suppress_comment"))
        return all_of_them

    return found("failed_checks"), found("skipped_checks")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("checkov") / "terraform"
    shutil.copytree(SOURCE, tree, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    return tree


def exceptions(tree):
    """(check, file): reason, as the code has them."""
    return {
        (check, str(path.relative_to(tree))): reason
        for path in sorted(tree.rglob("*.tf"))
        for check, reason in EXCEPTION.findall(path.read_text())
    }


def test_nothing_is_found(tree):
    failed, skipped = checkov(tree, tree.parent)
    assert not failed
    assert set(skipped) == set(exceptions(tree))


def test_each_exception_is_needed_and_has_a_reason(tree, tmp_path):
    """Without them checkov finds just these; so it can find something, too."""
    wanted = exceptions(tree)
    assert wanted and all(len(reason.split()) >= 4 for reason in wanted.values()), wanted
    bare = tmp_path / "terraform"
    shutil.copytree(tree, bare)
    for path in bare.rglob("*.tf"):
        path.write_text(EXCEPTION.sub("", path.read_text()))
    failed, skipped = checkov(bare, tmp_path)
    assert not skipped
    assert set(failed) == set(wanted)
