"""The program by which an instance of a fleet reports that its data is there, against HTTP servers in the place of the
metadata service and of Auto Scaling."""

import json
import os
import subprocess
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from conftest import SOURCE

METADATA = {
    "/latest/meta-data/placement/region": "eu-central-1",
    "/latest/meta-data/services/domain": "amazonaws.com",
    "/latest/meta-data/instance-id": "i-0123456789abcdef0",
    "/latest/meta-data/iam/security-credentials/": "workers",
    "/latest/meta-data/iam/security-credentials/workers": json.dumps(
        {"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "secret/key", "Token": "token=="}
    ),
}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, text=""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self):
        ok = self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        self.answer(200 if ok else 400, "a-token" if ok else "")

    def do_GET(self):
        if self.headers["X-aws-ec2-metadata-token"] != "a-token":
            self.answer(401)
        else:
            self.answer(200 if self.path in METADATA else 404, METADATA.get(self.path, ""))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append((dict(self.headers.items()), body))
        refuse = len(self.server.calls) <= self.server.refused
        self.answer(403 if refuse else 200, "<Error>AccessDenied</Error>" if refuse else "<ok/>")


@pytest.fixture
def aws():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.calls, server.refused = [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def ready(tmp_path, aws):
    """Runs the program; `burst status PATH` succeeds when the file of that name exists, and makes it if told to."""
    (tmp_path / "bin").mkdir()
    burst = tmp_path / "bin/burst"
    burst.write_text(
        f'#!/bin/sh\n[ "$1" = status ] || exit 2\necho "$2" >>{tmp_path}/asked\n'
        f'if [ -e "{tmp_path}/$2" ]; then exit 0; fi\n'
        f'if [ -e "{tmp_path}/soon" ]; then mv "{tmp_path}/soon" "{tmp_path}/$2"; fi\nexit 21\n'
    )
    burst.chmod(0o755)
    address = f"http://127.0.0.1:{aws.server_address[1]}"

    def run(paths, timeout_seconds):
        settings = {"group": "workers", "hook": "burst-restore", "paths": paths, "timeout_seconds": timeout_seconds}
        text = (SOURCE / "modules/fleet/ready.py").read_text()
        program = tmp_path / "ready.py"
        program.write_text(text.replace('"@SETTINGS@"', json.dumps(json.dumps(settings))))
        environment = {
            **os.environ,
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "BURST_IMDS": address,
            "BURST_AUTOSCALING": address,
        }
        return subprocess.run(
            [sys.executable, program], env=environment, capture_output=True, text=True, timeout=240, check=False
        )

    return run


def test_complete(tmp_path, aws, ready):
    (tmp_path / "data").touch()
    done = ready(["data"], 120)
    assert done.returncode == 0, done.stderr
    ((headers, body),) = aws.calls
    assert dict(urllib.parse.parse_qsl(body.decode())) == {
        "Action": "CompleteLifecycleAction",
        "Version": "2011-01-01",
        "AutoScalingGroupName": "workers",
        "LifecycleHookName": "burst-restore",
        "InstanceId": "i-0123456789abcdef0",
        "LifecycleActionResult": "CONTINUE",
    }
    # The signature is the one that AWS's own library makes of the same request.
    lower = {k.lower(): v for k, v in headers.items()}
    request = AWSRequest("POST", f"http://{lower['host']}/", data=body)
    for name in ("content-type", "host"):
        request.headers[name] = lower[name]
    request.context["timestamp"] = lower["x-amz-date"]
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", "secret/key", "token=="), "autoscaling", "eu-central-1")
    request.headers["X-Amz-Date"] = lower["x-amz-date"]
    request.headers["X-Amz-Security-Token"] = lower["x-amz-security-token"]
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert lower["authorization"].endswith(f"Signature={signature}")
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token," in lower["authorization"]


def test_waits_for_all(tmp_path, aws, ready):
    (tmp_path / "data").touch()
    (tmp_path / "soon").touch()
    done = ready(["data", "later"], 120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "asked").read_text().split() == ["data", "later"] * 2
    assert len(aws.calls) == 1


def test_tries_again_when_refused(tmp_path, aws, ready):
    (tmp_path / "data").touch()
    aws.refused = 1
    done = ready(["data"], 120)
    assert done.returncode == 0, done.stderr
    assert len(aws.calls) == 2


def test_never_complete(aws, ready):
    done = ready(["data"], 1)
    assert done.returncode == 1
    assert "not ready within the time allowed: not restored: data" in done.stderr
    assert aws.calls == []
