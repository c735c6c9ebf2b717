"""Settings as YAML: texts are in double quotes, as JSON has them, which is YAML, too; long ones are blocks."""

import json
from typing import Any


def text(value: Any, indent: int = 0) -> str:
    """Returns dicts, lists, texts, numbers and bools as YAML, which ends with a line's end."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        return "".join(f"{pad}{key}:{_after(item, indent)}" for key, item in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{_after(item, indent)}" for item in value)
    return f"{pad}{json.dumps(value, ensure_ascii=False)}\n"


def _after(value: Any, indent: int) -> str:
    """What stands after a key or a dash."""
    if isinstance(value, dict | list) and value:
        return "\n" + text(value, indent + 1)
    if isinstance(value, str) and "\n" in value:
        pad = "  " * (indent + 1)
        return " |\n" + "".join(f"{pad}{line}\n" if line else "\n" for line in value.rstrip("\n").split("\n"))
    return " " + text(value)
