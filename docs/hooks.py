"""Adds to the site what lies elsewhere in the repository, and one page of reference for each piece of the package."""

import ast
from importlib.util import find_spec
from pathlib import Path

from mkdocs.structure.files import File

import jtransfer

DOCS = Path(__file__).parent
ELSEWHERE = {
    "DESIGN.md": DOCS.parent / "jtransfer",
    "changelog.md": DOCS,
    "report.png": DOCS,
    "quickstart.ipynb": DOCS,
    "pieces.ipynb": DOCS,
}
PIECES = jtransfer._PIECES
DOCSTRING_ALONE = "    options:\n      members: false\n"
WITH_HEADING = "    options:\n      show_root_heading: true\n"


def on_config(config):
    """The reference is the navigation's last section but two."""
    pages = [{name: f"reference/{name}.md"} for name in sorted(PIECES)]
    config.nav.insert(-2, {"Reference": pages})
    return config


def on_files(files, config):
    """Pages and files from other folders; pages that mkdocstrings fills from docstrings."""
    for name, folder in ELSEWHERE.items():
        files.append(File(name, str(folder), config.site_dir, config.use_directory_urls))
    for name in PIECES:
        files.append(File.generated(config, f"reference/{name}.md", content=_reference(name)))
    return files


def _reference(name: str) -> str:
    """A page about a module, or about what a package exports."""
    module = f"jtransfer.{PIECES[name]}"
    title = f"# {name}\n\n`from jtransfer import {name}`\n\n::: {module}\n"
    path = Path(find_spec(module).origin)
    exported = _exported(path, module) if path.name == "__init__.py" else {}
    parts = [f"::: {place}\n{WITH_HEADING}" for place in exported.values()]
    return "\n".join([title + DOCSTRING_ALONE, *parts]) if parts else title


def _exported(path: Path, package: str) -> dict[str, str]:
    """Names in a package's `__all__`, but for constants, → the places where they are defined."""
    body = ast.parse(path.read_text()).body
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    origin = {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in imports for alias in node.names}
    assigned = {node.targets[0].id: node.value for node in body if isinstance(node, ast.Assign)}
    names = ast.literal_eval(assigned["__all__"]) if "__all__" in assigned else ()
    return {name: origin.get(name, f"{package}.{name}") for name in names if not name.isupper()}
