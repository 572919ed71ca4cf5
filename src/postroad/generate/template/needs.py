"""What a template needs of its data, found without rendering it: for people who fill it, and for `explain`."""

from __future__ import annotations

from dataclasses import dataclass, field

from postroad.generate.template.syntax import Binary, Call, Expression, Index, Literal, Name, Unary

_LOOP_NAMES = frozenset({"loop_var", "loop_index", "loop_vars"})
_COMPARISONS = frozenset({"<", ">", "<=", ">="})


@dataclass(slots=True)
class Need:
    """A value by its path: `name`, `address.city`, `cart[].price` (of each item), `offers[?]` (by a computed key).

    conditional: every use is under a condition (in a branch, in a loop, right of `and` or `or`).
    required: an unconditional use fails when the value is missing or null.
    at: offset of the first use.
    """

    path: str
    conditional: bool
    required: bool
    at: int


@dataclass(slots=True)
class Needs:
    """values in the order of first use. snippets: ids said in the template; any_snippet: others are chosen by the data.
    dynamic: paths of dynamic content, whose own needs are not known before there is data."""

    values: dict[str, Need] = field(default_factory=dict)
    snippets: list[str] = field(default_factory=list)
    any_snippet: bool = False
    dynamic: list[str] = field(default_factory=list)
    _conditions: int = 0
    # Each open loop: the name in loop_vars, and the path of its items. None is an `if`.
    _blocks: list[tuple[str, str] | None] = field(default_factory=list)

    def use(self, node: Expression) -> None:
        """A tag that writes."""
        if isinstance(node, Call) and node.name == "render_snippet":
            argument = node.arguments[0]
            if isinstance(argument, Literal):
                self._add(self.snippets, str(argument.value))
            else:
                self.any_snippet = True
                self._walk(argument)
        elif isinstance(node, Call) and node.name == "render_dynamic_content":
            self._add(self.dynamic, self._path(node.arguments[0]) or "?")
            self._walk(node.arguments[0])
        else:
            self._walk(node)

    def enter(self, word: str, node: Expression, at: int) -> None:
        """A block begins. Its first condition is always looked at."""
        self._walk(node)
        self._conditions += 1
        if word == "if":
            self._blocks.append(None)
        else:
            path = self._path(node) or "?"
            self._blocks.append((_last(node), f"{path}[]"))

    def turn(self, node: Expression | None, at: int) -> None:
        """Another branch of the block begins."""
        if node is not None:
            self._walk(node)

    def leave(self) -> None:
        self._conditions -= 1
        self._blocks.pop()

    @staticmethod
    def _add(known: list[str], name: str) -> None:
        if name not in known:
            known.append(name)

    def _path(self, node: Expression) -> str | None:
        """How a value is reached, or None when it isn't a path or is the loop's own."""
        if isinstance(node, Name):
            if node.name == "loop_var":
                loops = [block for block in self._blocks if block is not None]
                return loops[-1][1] if loops else None
            return None if node.name in _LOOP_NAMES else node.name
        if not isinstance(node, Index):
            return None
        key = node.key.value if isinstance(node.key, Literal) else None
        if isinstance(node.base, Name) and node.base.name == "loop_vars":
            return next((block[1] for block in reversed(self._blocks) if block is not None and block[0] == key), None)
        base = self._path(node.base)
        if base is None:
            return None
        if isinstance(key, str):
            return f"{base}.{key}"
        return f"{base}[{'?' if key is None else key}]"

    def _walk(self, node: Expression, fails: bool = False) -> None:
        """fails: the use that holds this node fails if it is nil."""
        match node:
            case Name() | Index():
                path = self._path(node)
                if path is not None:
                    self._note(path, node.at, fails)
                inner = node
                while isinstance(inner, Index):
                    self._walk_key(inner.key)
                    if path is not None and (base := self._path(inner.base)) is not None:
                        # Members are listed; what holds them only where it must be there.
                        self._note(base, inner.base.at, True)
                    if not isinstance(inner.base, (Name, Index)):
                        self._walk(inner.base, True)
                        break
                    inner = inner.base
            case Unary():
                self._walk(node.operand, node.operator != "not")
            case Binary():
                arithmetic = node.operator in _COMPARISONS or node.operator in "+-*/"
                self._walk(node.left, arithmetic)
                guarded = node.operator in ("and", "or")
                self._conditions += guarded
                self._walk(node.right, arithmetic)
                self._conditions -= guarded
            case Call():
                for argument in node.arguments:
                    self._walk(argument)
            case Literal():
                pass

    def _walk_key(self, key: Expression) -> None:
        if not isinstance(key, Literal):
            self._walk(key)

    def _note(self, path: str, at: int, fails: bool) -> None:
        conditional = self._conditions > 0
        required = fails and not conditional
        known = self.values.setdefault(path, Need(path, conditional, required, at))
        known.conditional = known.conditional and conditional
        known.required = known.required or required


def _last(node: Expression) -> str:
    if isinstance(node, Name):
        return node.name
    if isinstance(node, Index) and isinstance(node.key, Literal):
        return str(node.key.value)
    return "?"
