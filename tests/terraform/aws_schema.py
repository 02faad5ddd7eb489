"""The AWS provider's schema, rebuilt from cdktf's generated classes for it (npm package @cdktf/provider-aws).

Terraform can tell a wrong argument only from the provider's schema, which comes inside a program of 700 MB that is not
on the package registries. The package has the same facts in another form: which attributes and blocks there are and
their types in functions ...ToHclTerraform, which are required in the .d.ts, which are set by AWS alone in the getters.

What is lost: optional attributes cannot be told from those that are also computed (all count as both), some nested
object types, and all checks that the provider does in code (allowed values, conflicts).
"""

import re
import tarfile

SIMPLE = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
GETTERS = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
}
ENTRY = re.compile(
    r"(\w+): \{\n\s+value: (.*?),\n\s+isBlock: (true|false),\n\s+type: \"(\w+)\",\n\s+storageClassType: \"(\w+)\",",
    re.S,
)
INTERFACE = re.compile(r"export interface (\w+)(?: extends [\w.]+)? \{\n(.*?)\n\}", re.S)
PROPERTY = re.compile(r"#\w+ \w+#(\w+)\}[^;]*?readonly \w+(\??): ")


def attribute_type(kind, storage):
    """cdktf's two words for a type, as Terraform's JSON type."""
    if kind == "simple":
        return SIMPLE.get(storage, "dynamic")
    match = re.match(r"(string|number|boolean)(List|Map|MapList)?$", storage)
    if match and kind in ("list", "set", "map"):
        element = SIMPLE[match[1]]
        return [kind, ["map", element] if match[2] == "MapList" else element]
    if kind == "map" and storage == "anyMap":
        return ["map", "dynamic"]
    return "dynamic"


def text_from(code, head, end):
    begin = code.find(head)
    return "" if begin < 0 else code[begin : code.find(end, begin)]


class Package:
    """One archive of the npm package."""

    def __init__(self, path):
        self.files = {}
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(("/index.js", "/index.d.ts", "/README.md")):
                    self.files[member.name.removeprefix("package/")] = archive.extractfile(member).read()
        self.version = re.search(r"provider version ([\d.]+)", self.files["README.md"].decode())[1]

    def schema(self, resources, data):
        """The schema of the provider and of these types; None for a type that does not exist."""
        return {
            "version": self.version,
            "provider": self.read("provider"),
            "resources": {name: self.read(name.removeprefix("aws_").replace("_", "-")) for name in resources},
            "data": {name: self.read("data-" + name.replace("_", "-")) for name in data},
        }

    def read(self, directory):
        code = self.files.get(f"lib/{directory}/index.js")
        if code is None:
            return None
        code = code.decode()
        types = self.files[f"lib/{directory}/index.d.ts"].decode()
        required = {
            interface[1]: {p[1] for p in PROPERTY.finditer(interface[2]) if not p[2]}
            for interface in INTERFACE.finditer(types)
        }
        name = re.search(r"^(\w+)\.tfResourceType = ", code, re.M)[1]
        own = code[code.index(f"class {name} extends cdktf.") :]
        block = self.block(code, required, f"{name}Config", text_from(own, "synthesizeHclAttributes() {", "\n    }\n"))
        set_by_aws = [
            (g[1], GETTERS.get(g[0], "dynamic")) for g in re.findall(r"return this\.(get\w+Attribute)\('(\w+)'\)", own)
        ] + [(each, "dynamic") for each in re.findall(r"this\._\w+ = new \w+\(this, \"(\w+)\"", own)]
        for attribute, kind in set_by_aws:
            if attribute not in block["attributes"] and attribute not in block["blocks"]:
                block["attributes"][attribute] = {"type": kind, "is": "computed"}
        return block

    def block(self, code, required, interface, source):
        attributes, blocks = {}, {}
        for name, value, is_block, kind, storage in ENTRY.findall(source):
            needed = name in required.get(interface, ())
            if is_block == "false":
                attributes[name] = {
                    "type": attribute_type(kind, storage),
                    "is": "required" if needed else "optional",
                }
                continue
            inner = storage.removesuffix("List") if kind != "struct" else storage
            function = f"function {inner[0].lower()}{inner[1:]}ToHclTerraform(struct)"
            nesting = "single" if kind == "struct" else kind
            blocks[name] = {
                "nesting": nesting,
                "max": 0 if "listMapper" in value or nesting == "single" else 1,
                "min": 1 if needed and nesting != "single" else 0,
                "block": self.block(code, required, inner, text_from(code, function, "\n}")),
            }
        return {"attributes": attributes, "blocks": blocks}
