"""Brings the project's docstrings into the form that the site's parser of Google style reads."""

import re

from griffe import Extension, Object

FACTS = re.compile(r"^(Needs|Cost|Reference): (.*(?:\n[ \t]+\S.*)*)", re.MULTILINE)
EXAMPLE = re.compile(r"^Example:\n\n(.*)\Z", re.MULTILINE | re.DOTALL)


class Docstrings(Extension):
    """Turns the lines "Needs:", "Cost:" and "Reference:" into a list, and an example into a section."""

    def on_object(self, *, obj: Object, **kwargs) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            text = FACTS.sub(lambda fact: f"- **{fact[1]}**: {' '.join(fact[2].split())}", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(_section, text)


def _section(example: re.Match) -> str:
    return "Examples:\n" + "\n".join(f"    {line}".rstrip() for line in example[1].splitlines())
