"""Pages of the site that are made when it is built; used by mkdocs (``make docs``)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

import denoisplit
from denoisplit.cli.parser import parser_of, top_help
from denoisplit.config.commands import COMMANDS

DOCS = Path(__file__).parent
STUB = DOCS.parent / "build/docs/denoisplit.py"
MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_startup(**_: Any) -> None:
    """Write the public names with the docstrings that they have at run time, for mkdocstrings."""
    STUB.parent.mkdir(parents=True, exist_ok=True)
    texts = (stub(name, getattr(denoisplit, name)) for name in denoisplit.__all__)
    STUB.write_text("\n".join(texts), encoding="utf-8")


def stub(name: str, thing: Any, indent: str = "") -> str:
    """Return a function, property or class as code with its signature and docstring alone."""
    inner = f"{indent}    "
    text = f"{inner}{thing.__doc__ and inspect.cleandoc(thing.__doc__)!r}\n"
    if inspect.isclass(thing):
        members = [stub(*member, inner) for member in public_members(thing)]
        return f"{indent}class {name}:\n{text}{''.join(members)}"
    if isinstance(thing, property):
        head = f"@property\n{indent}def {name}{inspect.signature(thing.fget)}"
    elif callable(thing):
        head = f"def {name}{inspect.signature(thing)}"
    else:
        return f"{indent}{name} = {thing!r}\n"
    return f"{indent}{head}:\n{text}"


def public_members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield methods and properties of a class of the package, with those that it inherits."""
    if "\nParameters\n" in inspect.cleandoc(kind.__doc__ or ""):
        yield "__init__", kind.__init__
    for name in dict.fromkeys(name for one in kind.__mro__[:-1] for name in vars(one)):
        thing = inspect.getattr_static(kind, name)
        if not name.startswith("_") and (inspect.isfunction(thing) or isinstance(thing, property)):
            yield name, thing


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are made from other sources."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    readme = readme.replace("](docs/", "](").replace(".ipynb)", ".md)")
    pages: dict[str, str | bytes] = {"index.md": readme, "cli.md": command_line()}
    for path in sorted(DOCS.glob("notebooks/*.ipynb")):
        pages |= executed(path)
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Turn formulas into MathML, which browsers show without a script."""
    return MATH.sub(lambda formula: mathml(formula[2], formula[1]), html)


def mathml(latex: str, tag: str) -> str:
    """Return a formula as MathML: displayed if it stands in a ``div``."""
    display = "block" if tag == "div" else "inline"
    return str(convert(latex.replace("&amp;", "&").replace("&lt;", "<"), display=display))


def command_line() -> str:
    """Return the page of the command line: the help of each command."""
    helps = {"denoisplit": top_help()}
    helps |= {f"denoisplit {c.name}": parser_of(c).format_help() for c in COMMANDS.values()}
    sections = [f"## {name}\n\n```text\n{text}```\n" for name, text in helps.items()]
    return "# Command line\n\nThe help of each command.\n\n" + "\n".join(sections)


def executed(path: Path) -> dict[str, str | bytes]:
    """Execute a notebook in an empty folder; return its page and pictures, by name."""
    notebook = nbformat.read(path, as_version=4)
    quiet = ["--log-level=ERROR"]  # the kernel warns of its local connection
    with TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, resources=resources, extra_arguments=quiet).execute()
    text, made = MarkdownExporter().from_notebook_node(notebook, {"output_files_dir": path.stem})
    name = path.relative_to(DOCS).with_suffix(".md").as_posix()
    link = f"[Download this notebook]({path.name})\n"
    pictures = {f"notebooks/{file}": data for file, data in made["outputs"].items()}
    return {name: f"{text.rstrip()}\n\n{link}", **pictures}
