"""Hooks of the documentation site: the API pages, made from every `__all__`, and formulas as MathML."""

import ast
import html
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "tf_mtl"


def public_names(package: Path) -> list[str]:
    """Return a package's `__all__`, read without importing it."""
    for node in ast.parse((package / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    raise ValueError(f"{package / '__init__.py'} must assign a list of names to `__all__`.")


def api_pages() -> dict[str, str]:
    """Return the pages of the API reference, `{path: Markdown}`: the top level, and one for each public package."""
    packages = [name for name in public_names(PACKAGE) if (PACKAGE / name).is_dir()]
    modules = {"tf_mtl": PACKAGE} | {f"tf_mtl.{name}": PACKAGE / name for name in packages}
    return {f"api/{path.name}.md": _page(module, path, packages) for module, path in modules.items()}


def _page(module: str, path: Path, packages: list[str]) -> str:
    summary = ast.get_docstring(ast.parse((path / "__init__.py").read_text()))
    names = [name for name in public_names(path) if path != PACKAGE or name not in packages]
    return "\n\n".join([f"# `{module}`", summary, *(f"::: {module}.{name}" for name in sorted(names, key=str.lower))])


def on_files(files, config):
    """Add the API pages to the site."""
    from mkdocs.structure.files import File

    for path, text in api_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Leave the table of contents out of the page whose tables need the room."""
    if page.file.src_uri == "balancing.md":
        page.meta["hide"] = ["toc"]
    return markdown


def on_page_content(content, page, config, files):
    """Replace formulas by MathML, which browsers show without scripts or fonts from the network."""
    from latex2mathml.converter import convert

    def mathml(match):
        tex, display = html.unescape(match["tex"]), "inline" if match["open"] == r"\(" else "block"
        return convert(tex, display=display)

    pattern = r'<(?P<tag>span|div) class="arithmatex">(?P<open>\\[(\[])(?P<tex>.*?)\\[)\]]</(?P=tag)>'
    return re.sub(pattern, mathml, content, flags=re.DOTALL)
