"""Laws 3, 5 and 7: frozen values, typed and documented functions, no swallowed errors."""

import ast

from tests.house.source import Module, assert_none, body_lines

# Lines up to which a name and its types say enough.
SELF_EXPLAINING = 8

# Dataclasses that change, each with the reason why it must.
THAWED: dict[str, str] = {
    "src/instil/model/layout.py:Layout": "torch 2.11 compiles a block anew for every frozen dataclass with other fields",
    "src/instil/serve/answer.py:Answer": "grows token by token, thousands of times a second",
    "src/instil/serve/engine.py:Request": "is read and written pass by pass",
    "src/instil/serve/replies.py:Choice": "collects the pieces of an answer",
}


def dataclass_decorator(node: ast.ClassDef) -> ast.expr | None:
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(called) in ("dataclass", "dataclasses.dataclass"):
            return decorator
    return None


def frozen(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and any(k.arg == "frozen" and ast.unparse(k.value) == "True" for k in decorator.keywords)


def test_values_are_frozen(package: list[Module]) -> None:
    found = {f"{m.path}:{c.name}": d for m in package for c in m.classes if (d := dataclass_decorator(c))}
    assert found, "no dataclass found: this test has gone blind"
    thawed = {name for name, decorator in found.items() if not frozen(decorator)}
    assert_none("not frozen", thawed - set(THAWED))
    assert_none("excused, though frozen or gone", set(THAWED) - thawed)


def test_public_functions_are_annotated(package: list[Module]) -> None:
    bare = []
    for module in package:
        for function in module.public_functions:
            a = function.args
            given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
            if function.returns is None or any(argument.annotation is None for argument in given):
                bare.append(f"{module.path}:{function.lineno} {function.name}")
    assert_none("not annotated", bare)


def test_what_is_public_is_documented(package: list[Module]) -> None:
    """Every module and public class; public functions that are too long to explain themselves."""
    silent = [module.path for module in package if not ast.get_docstring(module.tree)]
    for module in package:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{module.path}:{node.lineno} {node.name}")
        for function in module.public_functions:
            if body_lines(function) > SELF_EXPLAINING and not ast.get_docstring(function):
                silent.append(f"{module.path}:{function.lineno} {function.name}")
    assert_none("without a docstring", silent)


def swallows(handler: ast.ExceptHandler) -> bool:
    """A bare `except:`, or `except Exception:` that does nothing."""
    if handler.type is None:
        return True
    caught = {ast.unparse(t) for t in (handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type])}
    idle = all(
        isinstance(s, ast.Pass | ast.Continue) or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)) for s in handler.body
    )
    return bool(caught & {"Exception", "BaseException"}) and idle


def test_errors_are_not_swallowed(package: list[Module]) -> None:
    handlers = [(m, node) for m in package for node in ast.walk(m.tree) if isinstance(node, ast.ExceptHandler)]
    assert_none("errors swallowed", [f"{m.path}:{node.lineno}" for m, node in handlers if swallows(node)])
