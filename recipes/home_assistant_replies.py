"""The replies of Home Assistant, from its simplest templates."""

import re
from collections.abc import Mapping

_SLOT = re.compile(r"{{\s*slots\.(\w+)\s*(\|\s*capitalize\s*)?}}")
_OTHER_CODE = re.compile(r"{{|{%|{#")


def render(template: str, slots: Mapping[str, str]) -> str:
    """Return a reply, or "" if it depends on more than the values of slots.

    Args:
        template: A Jinja template. Rendered are plain text, `{{ slots.name }}` and `{{ slots.name | capitalize }}`;
            conditions, other filters and the state of the home give "".
        slots: The values of the slots; a slot that is missing here gives "".
    """
    names = {name for name, _ in _SLOT.findall(template)}
    if _OTHER_CODE.search(_SLOT.sub("", template)) or not names <= slots.keys():
        return ""

    def value(match: re.Match) -> str:
        return slots[match[1]].capitalize() if match[2] else slots[match[1]]

    return " ".join(_SLOT.sub(value, template).split())
