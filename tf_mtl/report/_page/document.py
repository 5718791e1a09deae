"""The page: its head, its contents, and its sections."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tf_mtl._version import __version__
from tf_mtl.report._page.elements import Markup, element, joined
from tf_mtl.report._page.style import CSS


class Section(NamedTuple):
    """A part of the page under its own heading."""

    title: str
    content: Markup


def write(path: str | Path, title: str, sections: Sequence[Section]) -> Path:
    """Write a page, and return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(title, sections), "utf-8")
    return path


def _page(title: str, sections: Sequence[Section]) -> str:
    head = [
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", title),
        element("style", Markup(CSS)),
    ]
    links = (element("li", element("a", part.title, href=f"#part-{index}")) for index, part in enumerate(sections, 1))
    contents = element("nav", element("ul", *links), aria_label="Contents") if len(sections) > 1 else None
    parts = (
        element("section", element("h2", part.title, id=f"part-{index}"), part.content)
        for index, part in enumerate(sections, 1)
    )
    body = [
        element("header", element("h1", title), contents),
        element("main", *parts),
        element("footer", element("p", f"Written by tf_mtl {__version__}.")),
    ]
    return "<!DOCTYPE html>\n" + joined(
        element("html", element("head", *head), element("body", *body), lang="en"), Markup("\n")
    )
