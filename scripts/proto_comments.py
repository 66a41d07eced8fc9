"""The comments of the proto, and what they say as Markdown."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parents[1]
PROTO = "worldforge/jepa/v1/jepa.proto"
_SERVICE, _MESSAGE, _ENUM, _INNER = 6, 4, 5, 2
"""Field numbers in a file's descriptor, of which the path of a comment is made; the last is that of their entries."""


def comments() -> dict[str, str]:
    """Return the comment of each message, field, enum, value and method, as one line, by its name."""
    file = _descriptor()
    return {
        name: " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
        if (name := _name(file, list(location.path)))
    }


def section(found: dict[str, str]) -> str:
    """Return the service and its messages as Markdown."""
    file = _descriptor()
    methods = "".join(_method(each, found) for each in file.service[0].method)
    messages = "".join(_message(each, found) for each in file.message_type if each.field)
    enums = "".join(_enum(each, found) for each in file.enum_type)
    return f"\n## worldforge.jepa.v1.WorldModelService\n{methods}\n## Messages\n{messages}\n## Enums\n{enums}"


def _method(method: Any, found: dict[str, str]) -> str:
    takes = f"{'stream ' * method.client_streaming}{_short(method.input_type)}"
    gives = f"{'stream ' * method.server_streaming}{_short(method.output_type)}"
    return f"\n### {method.name}\n\n`{takes}` to `{gives}`. {found[f'WorldModelService.{method.name}']}\n"


def _message(message: Any, found: dict[str, str]) -> str:
    rows = "".join(
        f"| `{each.name}` | {_type(each)} | {_cell(found.get(f'{message.name}.{each.name}', ''))} |\n"
        for each in message.field
    )
    return f"\n### {message.name}\n\n{_paragraph(found, message.name)}| field | type | |\n|---|---|---|\n{rows}"


def _enum(enum: Any, found: dict[str, str]) -> str:
    rows = "".join(f"| `{each.name}` | {_cell(found.get(f'{enum.name}.{each.name}', ''))} |\n" for each in enum.value)
    return f"\n### {enum.name}\n\n{_paragraph(found, enum.name)}| value | |\n|---|---|\n{rows}"


def _paragraph(found: dict[str, str], name: str) -> str:
    return f"{found[name]}\n\n" if found.get(name) else ""


def _type(field: Any) -> str:
    kind = _short(field.type_name) or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return f"repeated {kind}" if field.label == FieldDescriptorProto.LABEL_REPEATED else kind


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _name(file: Any, path: list[int]) -> str:
    """Return the name of what a path in the descriptor leads to, "Message.field"; empty for anything else."""
    groups = {_SERVICE: file.service, _MESSAGE: file.message_type, _ENUM: file.enum_type}
    if len(path) not in (2, 4) or path[0] not in groups or path[2:3] not in ([], [_INNER]):
        return ""
    owner: Any = groups[path[0]][path[1]]
    if len(path) == _INNER:
        return str(owner.name)
    inner = {_SERVICE: "method", _MESSAGE: "field", _ENUM: "value"}[path[0]]
    return f"{owner.name}.{getattr(owner, inner)[path[3]].name}"


def _descriptor() -> FileDescriptorProto:
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "set"
        include = Path(protoc.__file__).parent / "_proto"
        arguments = [f"-I{ROOT / 'protos'}", f"-I{include}", PROTO, "--include_source_info"]
        code = protoc.main(["protoc", *arguments, f"--descriptor_set_out={output}"])
        assert code == 0, "protoc failed"
        return FileDescriptorSet.FromString(output.read_bytes()).file[0]
