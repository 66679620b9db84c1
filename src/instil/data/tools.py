"""Tool definitions and tool calls, in the shapes that are in use, to OpenAI's."""

from collections.abc import Mapping
from typing import Any

from instil.core.values import ToolCall
from instil.data.fields import Fields, bad_row, first_of, from_json, kind

TOOL_FIELDS = ("tools", "functions")


def read_tools(row: Fields) -> tuple[Mapping[str, Any], ...]:
    """Definitions in `tools` or `functions`: a list or its JSON text. A bare function becomes `{"type": "function", "function": ...}`."""
    field = first_of(row, TOOL_FIELDS)
    if field is None or row[field] == "":
        return ()
    value = from_json(row[field]) if isinstance(row[field], str) else row[field]
    if not isinstance(value, list):
        raise bad_row(f"'{field}' is {kind(row[field])}, not a list of tool definitions (or the JSON text of one)")
    return tuple(_tool(tool, field) for tool in value)


def _tool(tool: Any, field: str) -> Mapping[str, Any]:
    if isinstance(tool, str):
        tool = from_json(tool)
    if isinstance(tool, dict):
        if isinstance(tool.get("function"), dict):
            return tool if "type" in tool else {"type": "function", **tool}
        if isinstance(tool.get("name"), str):
            return {"type": "function", "function": tool}
    raise bad_row(f"'{field}' holds {kind(tool)} that is no tool definition (an object with a 'name', or with a 'function')")


def read_calls(value: Any, where: str) -> tuple[ToolCall, ...]:
    """Calls from a list, one object, or the JSON text of either; each `{name, arguments}` or OpenAI's `{id, function: {...}}`."""
    parsed = from_json(value) if isinstance(value, str) else value
    calls = [parsed] if isinstance(parsed, dict) else parsed
    if not isinstance(calls, list):
        raise bad_row(f"{where}: a tool call is {'text that is not JSON' if isinstance(value, str) else kind(value)}")
    return tuple(_call(call, where) for call in calls)


def _call(call: Any, where: str) -> ToolCall:
    function = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise bad_row(f"{where}: a tool call has no 'name'")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        parsed = from_json(arguments)
        arguments = parsed if isinstance(parsed, dict) else arguments
    elif arguments is None:
        arguments = {}
    elif not isinstance(arguments, dict):
        raise bad_row(f"{where}: the arguments of tool call '{function['name']}' are {kind(arguments)}, not an object")
    call_id = call.get("id")
    return ToolCall(function["name"], arguments, call_id if isinstance(call_id, str) else None)
