"""The instance metadata service, version 2 only, of an instance with a role."""

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = "169.254.169.254"
INSTANCE, MAC = "i-0b0057b0057b00570", "52:54:00:12:34:56"
VERSIONS = ["2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"]


def tree(user_data: str | bytes, key: str, secret: str, instance: str) -> dict:
    role = {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": key,
        "SecretAccessKey": secret,
        "Token": "token-of-the-role",
        "LastUpdated": "2026-01-01T00:00:00Z",
        "Expiration": "2099-01-01T00:00:00Z",
    }
    interface = {
        "device-number": "0",
        "interface-id": "eni-0a1",
        "local-hostname": "ip-10-0-2-15.ec2.internal",
        "local-ipv4s": "10.0.2.15",
        "mac": MAC,
        "owner-id": "123456789012",
        "subnet-id": "subnet-0a1",
        "subnet-ipv4-cidr-block": "10.0.2.0/24",
        "vpc-id": "vpc-0a1",
        "vpc-ipv4-cidr-block": "10.0.0.0/16",
    }
    document = {"instanceId": instance, "instanceType": "m7i.large", "region": "us-east-1"}
    document |= {"availabilityZone": "us-east-1a", "accountId": "123456789012", "architecture": "x86_64"}
    meta_data = {
        "ami-id": "ami-0123456789abcdef0",
        "instance-id": instance,
        "instance-type": "m7i.large",
        "local-hostname": "ip-10-0-2-15",
        "hostname": "ip-10-0-2-15",
        "local-ipv4": "10.0.2.15",
        "mac": MAC,
        "placement": {"availability-zone": "us-east-1a", "region": "us-east-1"},
        # Instance store that is NVMe is not in it. cloud-init would mount ephemeral0, and take /dev/vdb for it.
        "block-device-mapping": {"ami": "/dev/xvda", "root": "/dev/xvda", "ebs1": "sdf"},
        "iam": {
            "info": json.dumps({"Code": "Success"}),
            "security-credentials": {"burst-role": json.dumps(role)},
        },
        "network": {"interfaces": {"macs": {MAC: interface}}},
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    dynamic = {"instance-identity": {"document": json.dumps(document)}}
    return {"meta-data": meta_data, "user-data": user_data, "dynamic": dynamic}


class Imds:
    """`asked` counts what was asked for with a token, by path; `refused` what was asked without."""

    def __init__(self, user_data: str | bytes, key: str, secret: str, instance: str = INSTANCE):
        self.tree = tree(user_data, key, secret, instance)
        self.asked: list[str] = []
        self.refused = 0
        tokens: set[str] = set()
        imds = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status: int, body: str | bytes = "") -> None:
                body = body.encode() if isinstance(body, str) else body
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                self.wfile.write(body)

            def do_PUT(self) -> None:
                if self.path != "/latest/api/token" or not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
                    return self.answer(400)
                tokens.add(token := secrets.token_hex(16))
                self.answer(200, token)

            def do_GET(self) -> None:
                if self.headers.get("X-aws-ec2-metadata-token") not in tokens:
                    imds.refused += 1
                    return self.answer(401)
                imds.asked.append(self.path)
                parts = [part for part in self.path.split("/") if part]
                if not parts:
                    return self.answer(200, "\n".join(VERSIONS))
                node: object = imds.tree if parts[0] in VERSIONS else None
                for part in parts[1:]:
                    node = node.get(part) if isinstance(node, dict) else None
                if node is None:
                    return self.answer(404)
                if isinstance(node, dict):
                    node = "\n".join(k + "/" * isinstance(v, dict) for k, v in node.items())
                self.answer(200, node)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((ADDRESS, 80), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
