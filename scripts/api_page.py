"""docs/api.md: the Python client from its docstrings, and the service from the comments of the proto."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from scripts import proto_comments

INTRODUCTION = """\
# API

Made by `make generate` from docstrings and the proto. `AsyncClient`, `AsyncSession`, `AsyncPendingScore` and
`AsyncPlanStream` have the methods of `Client`, `Session`, `PendingScore` and `PlanStream`, awaited. Every failed call
raises a `JepaError` ([errors.md](errors.md)); [options.md](options.md) has the settings of the server and the commands.

Letters: S samples (candidates), H horizon, A packed action dim, T frames, P proprio, N tokens, D latent dim.

## Methods

| Python | RPC | |
|---|---|---|
"""
METHODS = {
    "Client.score": "Score",
    "Client.session": "ScoreStream",
    "Client.plan": "Plan",
    "Client.create_context": "CreateContext",
    "Client.delete_context": "DeleteContext",
    "Client.encode": "Encode",
    "Client.unroll": "Unroll",
    "Client.model": "GetModel",
    "Client.models": "ListModels",
}
NAMES = {
    "worldforge_jepa_client": (
        "Client",
        "Session",
        "PendingScore",
        "PlanStream",
        "ScoreResult",
        "PlanProgress",
        "PlanResult",
        "Timing",
        "Context",
        "LatentFrames",
        "ModelSpec",
    ),
    "worldforge_jepa_client.planning": ("CEM", "ICEM", "MPPI", "plan", "shift_plan"),
    "worldforge_jepa_client.actions": ("ActionMapping",),
    "worldforge_jepa_client.viz": ("PlanView",),
}
SECTION = re.compile(r"(Args|Attributes|Returns|Raises):")


class _Written(str):
    """An annotation that is shown as it stands in the source."""

    __slots__ = ()
    __repr__ = str.__str__


def page() -> str:
    """Return the page."""
    comments = proto_comments.comments()
    rows = "".join(
        f"| `{name}` | `{rpc}` | {comments[f'WorldModelService.{rpc}'].partition('. ')[0].rstrip('.')} |\n"
        for name, rpc in METHODS.items()
    )
    return INTRODUCTION + rows + "".join(_modules()) + proto_comments.section(comments)


def _modules() -> Iterator[str]:
    for module, names in NAMES.items():
        yield f"\n## {module}\n"
        for name in names:
            value = getattr(importlib.import_module(module), name)
            yield _entry(name, value, "###")
            if inspect.isclass(value):
                yield from _members(name, value)


def _members(name: str, owner: type) -> Iterator[str]:
    """Yield the methods and properties of a class that have docstrings, in the order of their definition."""
    for attribute in dict.fromkeys(each for base in reversed(owner.__mro__) for each in vars(base)):
        value = inspect.getattr_static(owner, attribute)
        if not attribute.startswith("_") and inspect.getdoc(value) and _is_member(value):
            yield _entry(f"{name}.{attribute}", value, "####")


def _is_member(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, property)


def _entry(name: str, value: Any, heading: str) -> str:
    signature = "" if isinstance(value, property) else f"```text\n{name.rpartition('.')[2]}{_signature(value)}\n```\n\n"
    return f"\n{heading} {name}\n\n{signature}{_markdown(inspect.getdoc(value) or '')}\n"


def _signature(value: Any) -> str:
    """Return a signature without `self`, its annotations as they are written."""
    signature = inspect.signature(value)
    parameters = [
        each.replace(annotation=_Written(each.annotation)) if each.annotation is not each.empty else each
        for each in signature.parameters.values()
    ]
    result = signature.return_annotation
    returns = result if result in (signature.empty, None, "None") else _Written(result)
    written = str(signature.replace(parameters=parameters, return_annotation=returns))
    written = re.sub(r"<function (\w+) at 0x\w+>", r"\1", written.replace("<factory>", "..."))
    return re.sub(r"^\(self(, )?", "(", written).removesuffix(" -> 'None'")


def _markdown(docstring: str) -> str:
    """Return a docstring of google's style as Markdown: its sections become lists."""
    lines, in_section = [], False
    for line in docstring.splitlines():
        if found := SECTION.fullmatch(line):
            in_section = True
            lines += [f"**{found[1]}**", ""]
        elif in_section:
            lines.append(_item(line))
        else:
            lines.append(line)
    return "\n".join(line.rstrip() for line in lines)


def _item(line: str) -> str:
    """Return a line of a section: an entry, what goes on with one, or text."""
    if entry := re.fullmatch(r"    (\w+): (.*)", line):
        return f"- `{entry[1]}`: {entry[2]}"
    return f"  {line.strip()}" if line.startswith("     ") else line.strip()
