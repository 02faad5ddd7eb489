#!/usr/bin/env python3
"""Waits until `burst status` finds all restores complete, then lets this instance into service.

Runs as a user script, after cloud-init's modules. If it does not succeed in time, the lifecycle hook's default holds:
the instance is replaced. Only what each machine with cloud-init has is used: Python (3.6 or later) without packages.
"""

import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

SETTINGS = json.loads("@SETTINGS@")
IMDS = os.environ.get("BURST_IMDS", "http://169.254.169.254")
# Proxies are for others than the metadata service, which is on this machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def metadata(path, token):
    request = urllib.request.Request(f"{IMDS}/latest/{path}", headers={"X-aws-ec2-metadata-token": token})
    with DIRECT.open(request, timeout=10) as response:
        return response.read().decode()


def metadata_token():
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
    request = urllib.request.Request(f"{IMDS}/latest/api/token", method="PUT", headers=headers)
    with DIRECT.open(request, timeout=10) as response:
        return response.read().decode()


def signed(url, body, region, credentials):
    """Headers of a POST with AWS signature version 4."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{stamp[:8]}/{region}/autoscaling/aws4_request"
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": urllib.parse.urlsplit(url).netloc,
        "x-amz-date": stamp,
        "x-amz-security-token": credentials["Token"],
    }
    names = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    request = "\n".join(["POST", "/", "", *lines, "", names, hashlib.sha256(body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = b"AWS4" + credentials["SecretAccessKey"].encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials['AccessKeyId']}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    del headers["host"]  # urllib sets it
    return headers


def complete():
    token = metadata_token()
    region = metadata("meta-data/placement/region", token)
    domain = metadata("meta-data/services/domain", token)
    role = metadata("meta-data/iam/security-credentials/", token).split()[0]
    credentials = json.loads(metadata(f"meta-data/iam/security-credentials/{role}", token))
    action = {
        "Action": "CompleteLifecycleAction",
        "Version": "2011-01-01",
        "AutoScalingGroupName": SETTINGS["group"],
        "LifecycleHookName": SETTINGS["hook"],
        "InstanceId": metadata("meta-data/instance-id", token),
        "LifecycleActionResult": "CONTINUE",
    }
    url = os.environ.get("BURST_AUTOSCALING", f"https://autoscaling.{region}.{domain}") + "/"
    body = urllib.parse.urlencode(action).encode()
    headers = signed(url, body, region, credentials)
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as response:
        response.read()


def unfinished():
    """Paths whose restore is not complete: `burst status` exits with 0 if it is."""
    return [
        path
        for path in SETTINGS["paths"]
        if subprocess.run(["burst", "status", path], stdout=subprocess.DEVNULL).returncode != 0
    ]


def main():
    end = time.monotonic() + SETTINGS["timeout_seconds"]
    while True:
        paths = unfinished()
        if not paths:
            try:
                complete()
            # Also a role whose permissions are not everywhere yet: try again.
            except (OSError, ValueError, KeyError, IndexError) as error:
                detail = error.read().decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else ""
                problem = f"the group could not be told: {error} {detail}".strip()
            else:
                print(f"burst: {SETTINGS['group']}: this instance is ready")
                return 0
        else:
            problem = f"not restored: {' '.join(paths)}"
        if time.monotonic() + 5 > end:
            break
        time.sleep(5)
    print(f"burst: {SETTINGS['group']}: not ready within the time allowed: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
