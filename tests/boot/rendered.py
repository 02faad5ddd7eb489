"""User data as the Terraform module of that name makes it, by a real `terraform apply`: it needs no provider."""

import json
import os
import shutil
import subprocess
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "terraform/modules/user-data"


def rendered(work: Path, **variables: object) -> dict[str, str]:
    """Outputs of the module for these variables."""
    module = work / "user-data"
    shutil.copytree(MODULE, module, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    (module / "terraform.tfvars.json").write_text(json.dumps(variables))
    (work / "terraformrc").touch()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    environment |= {"TF_CLI_CONFIG_FILE": str(work / "terraformrc"), "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}

    def terraform(*arguments: str) -> str:
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=module,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"terraform {arguments[0]}\n{done.stdout}{done.stderr}"
        return done.stdout

    terraform("init", "-no-color", "-input=false")
    terraform("apply", "-no-color", "-input=false", "-auto-approve")
    return {name: output["value"] for name, output in json.loads(terraform("output", "-json")).items()}
