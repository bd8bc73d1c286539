"""An entry's source -> how much code its training is, and how many of the framework's names it needs. Runs none of it.

Counted is what the training can reach: from `build`, and `train` of what it returns, every function, class and constant
of the entry's own package that is used, with the methods of the class that is built. Not counted: what serves the
harness alone, annotations, docstrings, imports. docs/studies.md has the rule and its limits.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from types import ModuleType

import numpy as np

from bench import task as tasks
from bench.contract import Data, Settings
from bench.errors import InputError
from bench.record import Reading, WorkerRequest

# A framework's folder under impls -> the packages whose names a reader of it must know.
FRAMEWORKS = {
    "torch": ("torch",),
    "tensorflow": ("tensorflow", "keras"),
    "keras": ("keras", "tensorflow"),
    "jax": ("jax",),
    "numpy": ("numpy", "scipy"),
}
# Evaluation, reading parameters, and the contract's optional parts: asked for by the harness, no part of training.
HARNESS = frozenset(
    (
        *("logits", "params", "compilations", "placement", "gather"),
        *("configure", "versions", "host_reads", "synchronize", "matmul", "device_memory", "reset_device_memory"),
    )
)
COUNTERS = frozenset({"_programs"})  # through which a trainer counts what it compiles, for `compilations`
FORMULAS = "optimizers"  # the module of a package that holds optimisers for formulas other than the framework's own


def measure(module: ModuleType, request: WorkerRequest, settings: Settings) -> list[Reading]:  # noqa: ARG001
    """Readings of the training; of what it has in the package's module of formulas (`.optimizer_subclasses`), which
    the first do not hold; and of the training for the task's optimiser alone (`.one_optimizer`).

    `syntax_nodes`: nodes of the syntax trees (ast.walk). `source_lines`: lines of the same trees as ast.unparse prints
    them, so that neither comments nor the way of wrapping lines count. `framework_names`: distinct names of the
    framework's packages, and attributes of its objects; of the formulas, those that the training does not have.
    """
    training, formulas = counted(module.__name__)
    one, _ = counted(module.__name__, optimizer=type(request.task.optimizer).__name__)
    return [
        *_readings(training, ""),
        *_readings(replace(formulas, names=formulas.names - training.names), ".optimizer_subclasses"),
        *_readings(one, ".one_optimizer"),
    ]


@dataclass(frozen=True, kw_only=True)
class Code:
    """Syntax trees by the name of the definition, and the names of the framework in them."""

    trees: dict[str, ast.stmt]
    names: set[str]


def _readings(code: Code, suffix: str) -> Iterator[Reading]:
    nodes = {name: sum(1 for _ in ast.walk(tree)) for name, tree in code.trees.items()}
    lines = [line for tree in code.trees.values() for line in ast.unparse(tree).splitlines() if line.strip()]
    parts = ", ".join(f"{name} {size}" for name, size in sorted(nodes.items()))
    names = ", ".join(sorted(code.names))
    yield Reading(name=f"syntax_nodes{suffix}", unit="nodes", value=sum(nodes.values()), text=parts or None)
    yield Reading(name=f"source_lines{suffix}", unit="lines", value=len(lines))
    yield Reading(name=f"framework_names{suffix}", unit="names", value=len(code.names), text=names or None)


def counted(entry: str, *, optimizer: str | None = None) -> tuple[Code, Code]:
    """The imported entry module's training, and of it what stands in the package's module of formulas.

    optimizer: the name of its class in bench.task, where the cases of a `match` for others are to be left out. Raises
    InputError where the framework is unknown or the module has no build.
    """
    _source.cache_clear()
    unread: frozenset[str] = frozenset()
    while True:  # what only unread attributes lead to may itself have kept others alive
        reach = _Reach(entry, _Stripped(unread, optimizer))
        more = frozenset(reach.written - reach.read)
        if more <= unread:
            return reach.code(formulas=False), reach.code(formulas=True)
        unread |= more


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A module: its definitions at the top, and what its imports call things."""

    definitions: dict[str, ast.stmt]
    imports: dict[str, str]  # name here -> full name


@cache
def _source(name: str) -> _Source:
    definitions: dict[str, ast.stmt] = {}
    imports: dict[str, str] = {}
    for node in ast.parse(inspect.getsource(sys.modules[name])).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                definitions[node.name] = node
            case ast.Assign(targets=[ast.Name(id=target)]) | ast.AnnAssign(target=ast.Name(id=target)):
                definitions[target] = node
            case ast.Import():
                for alias in node.names:
                    imports[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else alias.name.split(".")[0]
                    )
            case ast.ImportFrom():
                imports |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return _Source(definitions=definitions, imports=imports)


class _Stripped(ast.NodeTransformer):
    """Leaves out what is not counted of a definition: docstrings, annotations, attributes of self that nobody reads."""

    def __init__(self, unread: frozenset[str], optimizer: str | None) -> None:
        self._unread, self._optimizer = unread, optimizer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Its body without a docstring."""
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        node.returns = None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        """A parameter."""
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """As an assignment; nothing where it has no value."""
        return self.visit_Assign(ast.Assign(targets=[node.target], value=node.value)) if node.value else None

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        """Without what nobody reads, one by one where several are assigned at once."""
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)) if any(
                self._is_unread(target) for target in targets
            ):
                kept = [pair for pair in zip(targets, values, strict=True) if not self._is_unread(pair[0])]
                if not kept:
                    return None
                lefts, rights = [pair[0] for pair in kept], [pair[1] for pair in kept]
                node = (
                    ast.Assign(targets=lefts, value=rights[0])
                    if len(kept) == 1
                    else ast.Assign(targets=[ast.Tuple(elts=lefts)], value=ast.Tuple(elts=rights))
                )
            case ast.Assign(targets=[target]) if self._is_unread(target):
                return None
        return self.generic_visit(node)

    def _is_unread(self, target: ast.expr) -> bool:
        return isinstance(target, ast.Attribute) and _is_self(target.value) and target.attr in self._unread

    def visit_Match(self, node: ast.Match) -> ast.AST:
        """Without the cases of other optimisers."""

        def classes(case: ast.match_case) -> set[str]:
            patterns = [one.cls for one in ast.walk(case.pattern) if isinstance(one, ast.MatchClass)]
            return {cls.id for cls in patterns if isinstance(cls, ast.Name)}

        if self._optimizer:
            node.cases = [case for case in node.cases if not classes(case) or self._optimizer in classes(case)]
        return self.generic_visit(node)

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.stmt]:
        """Its body alone where nothing is left to enter."""
        self.generic_visit(node)
        node.items = [item for item in node.items if not _attributes(item.context_expr) & COUNTERS]
        return node if node.items else node.body


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


@dataclass(frozen=True, kw_only=True)
class _Use:
    """An attribute that counted code uses. of_self: of self or super(), else of something else."""

    owner: str | None  # the class that the code is in, "module:Class"
    attribute: str
    of_self: bool
    formulas: bool


class _Reach:
    """All that the training of an entry can reach, each definition stripped."""

    def __init__(self, entry: str, strip: _Stripped) -> None:
        self._package = entry.rpartition(".")[0]
        folder = self._package.rpartition(".")[2]
        if folder not in FRAMEWORKS:
            raise InputError(f"{entry}: no framework of the folder {folder!r}; there are {', '.join(FRAMEWORKS)}")
        if "build" not in _source(entry).definitions:
            raise InputError(f"{entry}: has no build of its own to count from")
        self._frameworks, self._strip = FRAMEWORKS[folder], strip
        self._trees: dict[tuple[str, str], ast.stmt] = {}  # module, name inside it -> stripped
        self._built: set[str] = set()  # classes of which there are objects, "module:Class"
        self._uses: set[_Use] = set()
        self._names: set[tuple[str, bool]] = set()  # name, whether in the module of formulas
        self.written: set[str] = set()  # attributes of self
        self.read: set[str] = set()
        self._reach(entry, "build")
        while True:
            before = len(self._trees), len(self._built)
            for use in list(self._uses):
                for holder in self._holders(use):
                    self._reach_member(holder, use.attribute)
            if before == (len(self._trees), len(self._built)):
                break

    def code(self, *, formulas: bool) -> Code:
        """What was reached: inside the module of formulas, or outside."""
        trees = {
            f"{module.rpartition('.')[2]}.{name}": tree
            for (module, name), tree in self._trees.items()
            if formulas == _holds_formulas(module)
        }
        of_others = {
            f".{use.attribute}"
            for use in self._uses
            if use.formulas == formulas and use.attribute not in _known(self._frameworks) and not self._is_own(use)
        }
        return Code(trees=trees, names=of_others | {name for name, inside in self._names if inside == formulas})

    def _is_own(self, use: _Use) -> bool:
        """Whether a class of the package has the attribute; only its own classes count where it is of self."""
        own = {name.rpartition(".")[2] for holder in self._holders(use) for name in self._members(holder)}
        return use.attribute in own or (use.of_self and use.attribute in self.written)

    def _holders(self, use: _Use) -> list[str]:
        """The built classes whose object the attribute can be of: the owner's kin for self, else all others."""
        kin = [cls for cls in self._built if use.owner in self._lineage(cls)]
        return kin if use.of_self else [cls for cls in self._built if cls not in kin]

    def _lineage(self, cls: str) -> list[str]:
        """The class and its bases within the package, nearest first."""
        return [cls, *(line for base in self._bases(cls) for line in self._lineage(base))]

    def _bases(self, cls: str) -> list[str]:
        module, node = self._class(cls)
        found = [self._resolve(module, *_dotted(base), formulas=_holds_formulas(module)) for base in node.bases]
        return [f"{one[0]}:{one[1]}" for one in found if one]

    def _class(self, cls: str) -> tuple[str, ast.ClassDef]:
        module, _, name = cls.partition(":")
        node = _source(module).definitions[name]
        assert isinstance(node, ast.ClassDef)
        return module, node

    def _members(self, cls: str) -> dict[str, ast.stmt]:
        """What the bodies of the class and its bases define, "module:Class.member"; the attributes of its self too."""
        found: dict[str, ast.stmt] = {}
        for one in self._lineage(cls):
            for node in self._class(one)[1].body:
                match node:
                    case ast.FunctionDef(name=name):
                        found[f"{one}.{name}"] = node
                    case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                        found[f"{one}.{name}"] = node
                for part in ast.walk(node):
                    if isinstance(part, ast.Attribute) and _is_self(part.value) and isinstance(part.ctx, ast.Store):
                        found.setdefault(f"{one}.{part.attr}", ast.Pass())
        return found

    def _reach(self, module: str, name: str) -> None:
        """Count a definition at the top of a module; of a class, that there are objects of it."""
        node = _source(module).definitions[name]
        if name in HARNESS:
            return
        if not isinstance(node, ast.ClassDef):
            self._count(module, name, node, owner=None)
            return
        cls = f"{module}:{name}"
        if cls in self._built:
            return
        self._built.add(cls)
        for one in self._lineage(cls):
            where, found = self._class(one)
            header = ast.ClassDef(found.name, found.bases, found.keywords, [], found.decorator_list)
            self._trees[where, found.name] = ast.fix_missing_locations(header)
        # Called by nobody in the package: dunders by Python, train by the harness, what a framework's class overrides.
        all_of_it = any(len(self._bases(one)) < len(self._class(one)[1].bases) for one in self._lineage(cls))
        for member, node in self._members(cls).items():
            short = member.rpartition(".")[2]
            if isinstance(node, ast.FunctionDef) and (all_of_it or short == "train" or short.startswith("__")):
                self._reach_member(cls, short)

    def _reach_member(self, cls: str, name: str) -> None:
        """Count what the name means to an object of the class, unless it serves the harness."""
        for member, node in self._members(cls).items():
            one, _, short = member.rpartition(".")
            if short == name and name not in HARNESS and not isinstance(node, ast.Pass):
                self._count(one.partition(":")[0], member.partition(":")[2], node, owner=one)
                return

    def _count(self, module: str, name: str, node: ast.stmt, *, owner: str | None) -> None:
        if (module, name) in self._trees:
            return
        tree = self._strip.visit(ast.parse(ast.unparse(node)).body[0])  # a copy
        if tree is not None:  # a field without a value is no code
            self._trees[module, name] = ast.fix_missing_locations(tree)
            self._refer(tree, module, owner, _bound(tree))

    def _refer(self, node: ast.AST, module: str, owner: str | None, bound: set[str]) -> None:
        """Follow every name and attribute in a tree."""
        formulas = _holds_formulas(module)

        def use(attributes: list[str], *, of_self: bool = False) -> None:
            for attribute in attributes:
                self.read.add(attribute)
                self._uses.add(_Use(owner=owner, attribute=attribute, of_self=of_self, formulas=formulas))

        match node:
            case ast.AugAssign(target=ast.Attribute(value=value, attr=attribute)) if _is_self(value):
                self.read.add(attribute)
            case ast.Attribute(value=value, attr=attribute, ctx=ast.Store()) if _is_self(value):
                self.written.add(attribute)
                return
            case ast.Attribute() | ast.Name():
                base, attributes = _dotted(node)
                match base:
                    case ast.Name(id="self") if owner:
                        use(attributes[:1], of_self=True)
                        use(attributes[1:])
                    case ast.Name(id=name) if name in bound:
                        use(attributes)
                    case ast.Name():
                        found = self._resolve(module, base, attributes, formulas=formulas)
                        if found:
                            self._reach(*found[:2])
                            use(found[2])
                    case ast.Call(func=ast.Name(id="super")) if owner:
                        self._super(owner, attributes[0], formulas=formulas)
                        use(attributes[1:])
                    case _:
                        use(attributes)
                        self._refer(base, module, owner, bound)
                return
        for child in ast.iter_child_nodes(node):
            self._refer(child, module, owner, bound)

    def _super(self, owner: str, name: str, *, formulas: bool) -> None:
        for base in self._bases(owner):
            if any(member.rpartition(".")[2] == name for member in self._members(base)):
                self._reach_member(base, name)
                return
        if not name.startswith("__"):
            self._names.add((f".{name}", formulas))

    def _resolve(
        self, module: str, base: ast.expr, attributes: list[str], *, formulas: bool
    ) -> tuple[str, str, list[str]] | None:
        """A name of the package -> its module, what it is called there, and the attributes that are left of it.

        None for all others; a framework's is noted.
        """
        if not isinstance(base, ast.Name):
            return None
        source = _source(module)
        if base.id in source.definitions:
            return module, base.id, attributes
        full = [*source.imports.get(base.id, "").split("."), *attributes]
        if full[0] in self._frameworks and len(full) > 1:  # the bare module is no name to know beside its parts
            self._names.add((".".join(full), formulas))
        if not ".".join(full).startswith((f"{self._package}.", "bench.oracle.")):
            return None
        cut = max(at for at in range(1, len(full) + 1) if ".".join(full[:at]) in sys.modules)
        if cut == len(full):  # the module itself
            return None
        return self._resolve(".".join(full[:cut]), ast.Name(full[cut]), full[cut + 1 :], formulas=formulas)


def _dotted(node: ast.expr) -> tuple[ast.expr, list[str]]:
    """What a chain of attributes begins with, and the attributes: a.b.c -> a, [b, c]."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.insert(0, node.attr)
        node = node.value
    return node, attributes


def _bound(tree: ast.AST) -> set[str]:
    """The names that a definition gives something to by itself: parameters and local variables."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                found.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.add(name)
            case ast.FunctionDef(name=name) if node is not tree:
                found.add(name)
    return found


def _attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def _holds_formulas(module: str) -> bool:
    return module.rpartition(".")[2] == FORMULAS


@cache
def _known(frameworks: tuple[str, ...]) -> frozenset[str]:
    """Attributes that are no framework's: Python's, the task's, and NumPy's unless that is the framework."""
    types: list[type] = [bytes, dict, float, frozenset, int, list, set, str, tuple, BaseException]
    models = [one for one in vars(tasks).values() if isinstance(one, type) and issubclass(one, tasks.Spec)]
    if "numpy" not in frameworks:
        types += [np.ndarray, np.dtype]
    known = {name for one in [*types, *models] for name in dir(one)}
    return frozenset(known.union(*(one.model_fields for one in models), (field.name for field in fields(Data))))
