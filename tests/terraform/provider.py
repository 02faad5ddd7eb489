"""A Terraform provider (plugin protocol 6) that knows a schema and nothing else: what `terraform validate` and mocked
`terraform test` ask of the AWS provider."""

import contextlib
import json
import os
from concurrent import futures

import grpc
from tf.gen import tfplugin_pb2 as messages
from tf.gen import tfplugin_pb2_grpc as service

Nested = messages.Schema.NestedBlock
NESTING = {"list": Nested.LIST, "set": Nested.SET, "single": Nested.SINGLE, "map": Nested.MAP}


def as_block(block, *, computed=True, in_set=False):
    message = messages.Schema.Block()
    for name, attribute in sorted(block["attributes"].items()):
        kind = attribute["type"]
        # Terraform allows no dynamic type within a set.
        if in_set and "dynamic" in json.dumps(kind):
            kind = "string"
        words = {attribute["is"]: True}
        if attribute["is"] == "optional" and kind != "dynamic":
            words["computed"] = computed
        message.attributes.add(name=name, type=json.dumps(kind).encode(), **words)
    for name, nested in sorted(block["blocks"].items()):
        limits = {} if nested["nesting"] == "map" else {"max_items": nested["max"], "min_items": nested["min"]}
        inner = as_block(nested["block"], computed=computed, in_set=in_set or nested["nesting"] == "set")
        message.block_types.add(type_name=name, block=inner, nesting=NESTING[nested["nesting"]], **limits)
    return message


class Provider(service.ProviderServicer):
    def __init__(self, schema):
        def all_of(types):
            return {n: messages.Schema(version=0, block=as_block(b)) for n, b in types.items() if b is not None}

        self.answer = messages.GetProviderSchema.Response(
            # Of a provider's configuration nothing may be computed.
            provider=messages.Schema(version=0, block=as_block(schema["provider"], computed=False)),
            resource_schemas=all_of(schema["resources"]),
            data_source_schemas=all_of(schema["data"]),
            server_capabilities=messages.ServerCapabilities(get_provider_schema_optional=True),
        )

    def GetProviderSchema(self, request, context):
        return self.answer

    def GetMetadata(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    def ValidateProviderConfig(self, request, context):
        return messages.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request, context):
        return messages.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request, context):
        return messages.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request, context):
        return messages.ConfigureProvider.Response()

    def StopProvider(self, request, context):
        return messages.StopProvider.Response()


@contextlib.contextmanager
def running(schema):
    """Value of TF_REATTACH_PROVIDERS while it runs."""
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)])
    service.add_ProviderServicer_to_server(Provider(schema), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield json.dumps(
            {
                "registry.terraform.io/hashicorp/aws": {
                    "Protocol": "grpc",
                    "ProtocolVersion": 6,
                    "Pid": os.getpid(),
                    "Test": True,
                    "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
                }
            }
        )
    finally:
        server.stop(5).wait()
