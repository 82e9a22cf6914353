"""One self-contained source file of the inference graph, put together from the package's own."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

from denoisplit.network import addressed_noise, blocks, decoder, encoder, vse
from denoisplit.prediction import moments
from denoisplit.version import __version__
from denoisplit_zoo.exporting import graph

MODULES = (
    blocks,
    encoder,
    decoder,
    vse,
    addressed_noise,
    moments,
    graph,
)  # each after those that it imports
OURS = ("denoisplit", "denoisplit_zoo")


def architecture_source() -> str:
    """The modules of the graph in one file that needs torch and numpy and nothing of ours."""
    return combine(MODULES)


def combine(modules: tuple[ModuleType, ...]) -> str:
    """Source files joined: imports from outside once, those of each other left out.

    Raises
    ------
    ValueError
        If two files give different things one name, or one is imported under another name.
    """
    outside: dict[str, set[str]] = {}  # what an import statement begins with -> its names
    owners: dict[str, str] = {}
    bodies = []
    for module in modules:
        source = inspect.getsource(module)
        tree = ast.parse(source)
        start = 0  # line that the imports end at
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for source_of, names in _outside(node, module.__name__).items():
                    outside.setdefault(source_of, set()).update(names)
                start = node.end_lineno or node.lineno
        for name in _defined(tree):
            if owners.setdefault(name, module.__name__) != module.__name__:
                raise ValueError(f"{name} is defined in {owners[name]} and in {module.__name__}")
        title = (ast.get_docstring(tree) or "").splitlines()[0]
        body = "\n".join(source.splitlines()[start:]).strip("\n")
        bodies.append(f"# {module.__name__}\n# {title}\n\n\n{body}\n")
    head = (
        '"""Network and sampler of this package in one file.\n\n'
        f"Put together by denoisplit {__version__} from its own sources"
        ' (BSD-3-Clause).\n"""\n\nfrom __future__ import annotations\n\n'
    )
    imports = [f"{start}{', '.join(sorted(names))}" for start, names in sorted(outside.items())]
    return head + "\n".join(imports) + "\n\n\n" + "\n\n".join(bodies)


def _outside(node: ast.Import | ast.ImportFrom, module: str) -> dict[str, set[str]]:
    """What an import statement takes from libraries that are not ours."""
    named = {f"{a.name} as {a.asname}" if a.asname else a.name for a in node.names}
    if isinstance(node, ast.Import):
        sources, found = named, {f"import {name}": {""} for name in named}
    else:
        sources, found = {node.module or ""}, {f"from {node.module} import ": named}
    if sources == {"__future__"}:
        return {}
    if not any(name.split(".")[0] in OURS for name in sources):
        return found
    if isinstance(node, ast.Import) or any(alias.asname for alias in node.names):
        raise ValueError(f"{module}: {ast.unparse(node)!r} cannot stand in a joined file")
    return {}


def _defined(tree: ast.Module) -> set[str]:
    """Names that a module gives to functions, classes and constants at its top level."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return found
