"""Writes the Python client from the OpenAPI document: `python clients/python/build.py`."""

from __future__ import annotations

import json
import keyword
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twotower.web.app import create_app
from twotower.web.settings import ServeSettings

FILE = Path(__file__).parent / "src" / "twotower_client" / "api.py"
WIDTH = 100
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
Schema = dict[str, Any]

HEAD = '''"""The operations of the service and the types of their bodies.

Written by `clients/python/build.py` from the OpenAPI document; do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict, Unpack

from twotower_client.transport import Transport
'''


def document() -> Schema:
    """The OpenAPI document of the service."""
    return create_app(ServeSettings(source=Path("bundle"), events="events.sqlite")).openapi()


def render(openapi: Schema) -> str:
    """The module of an OpenAPI document."""
    schemas = openapi["components"]["schemas"]
    sent = set(reachable(schemas, [op.get("requestBody", {}) for _, _, op in operations(openapi)]))
    parts = [HEAD]
    parts += [typed_dict(name, schemas[name], is_sent=name in sent) for name in sorted(schemas)]
    methods = [method(path, verb, operation) for path, verb, operation in operations(openapi)]
    head = 'class Client(Transport):\n    """All operations of the service."""\n\n'
    return formatted("\n\n".join([*parts, head + "\n\n".join(methods)]))


def formatted(source: str) -> str:
    """A module in the format of the repository."""
    command = [sys.executable, "-m", "ruff", "format", "--line-length", str(WIDTH), "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    return done.stdout


def operations(openapi: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Path, method and description of each operation."""
    for path, verbs in openapi["paths"].items():
        for verb, operation in verbs.items():
            if verb in ("get", "put", "post", "patch", "delete"):
                yield path, verb, operation


def references(node: object) -> Iterator[str]:
    """The names of the schemas that a part of the document refers to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rpartition("/")[2]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def reachable(schemas: Schema, start: object) -> list[str]:
    """The names of the schemas that a part of the document refers to, directly or not."""
    found: dict[str, None] = {}
    left = list(references(start))
    while left:
        name = left.pop()
        if name not in found:
            found[name] = None
            left += references(schemas[name])
    return list(found)


def python_type(schema: Schema) -> str:
    """The type of a value that a schema describes."""
    if "$ref" in schema:
        return next(references(schema))
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return " | ".join(dict.fromkeys(map(python_type, choices)))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return f"Literal[{', '.join(json.dumps(value) for value in values)}]"
    match schema.get("type"):
        case "array":
            return f"list[{python_type(schema.get('items', {}))}]"
        case "object":
            values = schema.get("additionalProperties")
            named = [*schema.get("patternProperties", {}).values()]
            values = values if isinstance(values, dict) else next(iter(named), {})
            return f"dict[str, {python_type(values)}]"
        case kind:
            return PLAIN.get(str(kind), "Any")


def typed_dict(name: str, schema: Schema, *, is_sent: bool) -> str:
    """The type of a body. In a body that is sent, fields with a default may be left out."""
    required = set(schema.get("required", [])) if is_sent else set(schema.get("properties", {}))
    fields = {
        field: (python_type(each), field in required, each.get("description", ""))
        for field, each in schema.get("properties", {}).items()
    }
    told = docstring(schema.get("description", name), 1)
    if all(field.isidentifier() and not keyword.iskeyword(field) for field in fields):
        lines = [f"class {name}(TypedDict):", told, ""]
        for field, (kind, needed, description) in fields.items():
            lines.append(f"    {field}: {kind if needed else f'NotRequired[{kind}]'}")
            lines += [docstring(description, 1)] if description else []
        return "\n".join(lines)
    # Names such as `in` cannot stand in a class. As text: the type may name itself.
    entries = [
        f'"{field}": "{kind if needed else f"NotRequired[{kind}]"}"'
        for field, (kind, needed, _) in fields.items()
    ]
    return f'{name} = TypedDict("{name}", {{{", ".join(entries)}}})\n{told.strip()}'


def docstring(text: str, level: int) -> str:
    """A docstring at a level of indentation."""
    paragraphs = [" ".join(part.split()) for part in text.strip().split("\n\n")]
    width = WIDTH - 4 * level - 6
    filled = "\n\n".join(textwrap.fill(part, width) for part in paragraphs)
    end = "\n" if "\n" in filled else ""
    quoted = filled.replace("\\", "\\\\")
    return textwrap.indent(f'"""{quoted}{end}"""', "    " * level)


def method(path: str, verb: str, operation: Schema) -> str:
    """A method that calls an operation."""
    parameters = operation.get("parameters", [])
    in_path = [one["name"] for one in parameters if one["in"] == "path"]
    in_query = [one for one in parameters if one["in"] == "query"]
    arguments = ["self", *(f"{name}: str | int" for name in in_path)]
    sent, body = "None", body_type(operation)
    if body is not None and body.isidentifier():
        arguments.append(f"**body: Unpack[{body}]")
        sent = "dict(body)"
    elif body is not None:
        arguments.append(f"body: {body}")
        sent = "body"
    if in_query:
        arguments.append("*")
        arguments += [
            f"{one['name']}: {python_type(one['schema'])} = {one['schema'].get('default')!r}"
            for one in in_query
        ]
    content = operation["responses"]["200"]["content"]
    answer = python_type(content.get("application/json", {"schema": {"type": "string"}})["schema"])
    query = ", ".join(f'"{one["name"]}": {one["name"]}' for one in in_query)
    named = ", ".join(f'"{name}": {name}' for name in in_path)
    call = [
        f'"{verb.upper()}", "{path}"',
        *([f"path={{{named}}}"] if in_path else []),
        *([f"query={{{query}}}"] if in_query else []),
        *([f"body={sent}"] if body is not None else []),
    ]
    return "\n".join(
        [
            f"    def {operation['operationId']}({', '.join(arguments)}) -> {answer}:",
            docstring(str(operation.get("description", operation["summary"])), 2),
            f"        answer: {answer} = self.request({', '.join(call)})",
            "        return answer",
        ]
    )


def body_type(operation: Schema) -> str | None:
    """The type of an operation's body; None without one. An optional one has no required field."""
    body = operation.get("requestBody")
    if body is None:
        return None
    schema = body["content"]["application/json"]["schema"]
    kinds = [kind for kind in python_type(schema).split(" | ") if kind != "None"]
    return " | ".join(kinds)


if __name__ == "__main__":
    FILE.write_text(render(document()), encoding="utf-8")
