"""--metrics emf: valid by the schema of the format, and every metric is in spec/metrics.md."""

import json
import re
from pathlib import Path

import jsonschema
from burst import burst

SPEC = (Path(__file__).parents[2] / "spec" / "metrics.md").read_text()

# The schema in CloudWatch's specification of the format, for what is used of it.
SCHEMA = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer", "minimum": 10**12},
                "CloudWatchMetrics": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": {"type": "string", "minLength": 1, "maxLength": 1024},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {"type": "array", "maxItems": 30, "items": {"type": "string"}},
                            },
                            "Metrics": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "Name": {"type": "string", "minLength": 1, "maxLength": 1024},
                                        "Unit": {"enum": ["Seconds", "Bytes", "Count", "Bytes/Second"]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}


def checked(line: str) -> dict:
    """A line that follows the format."""
    found = json.loads(line)
    jsonschema.validate(found, SCHEMA)
    [directive] = found["_aws"]["CloudWatchMetrics"]
    for metric in directive["Metrics"]:
        assert isinstance(found[metric["Name"]], (int, float)), metric
        row = next(row for row in SPEC.splitlines() if f"`{metric['Name']}`" in row.split(" | ")[0])
        assert row.split(" | ")[1] == metric["Unit"]
    for dimension in directive["Dimensions"][0]:
        assert isinstance(found[dimension], str)
    known = {m["Name"] for m in directive["Metrics"]} | {"_aws", *directive["Dimensions"][0]}
    assert all(re.search(f"`{name}`", SPEC) for name in set(found) - known - {"_aws"})
    return found


def test_a_line_per_run(archive: Path, tmp: Path) -> None:
    log = tmp / "metrics.json"
    emf = ("--metrics", "emf", "--metrics-to", log)
    report = json.loads(burst("restore", "--json", *emf, archive, tmp / "t").out)
    burst("restore", *emf, tmp / "absent.zip", tmp / "u", code=10)
    good, bad = map(checked, log.read_text().splitlines())
    assert (good["Failures"], good["ExitCode"], good["Files"]) == (0, 0, 401)
    assert (good["ContentBytes"], good["Parts"]) == (report["content_bytes"], report["parts"])
    assert (bad["Failures"], bad["ExitCode"]) == (1, 10) and "absent.zip" in bad["Error"]


def test_on_standard_output(archive: Path, tmp: Path) -> None:
    done = burst("restore", "--metrics", "emf", archive, tmp / "t")
    [line] = done.out.splitlines()
    assert checked(line)["Source"] == str(archive)
