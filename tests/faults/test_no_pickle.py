"""Nothing of ours reads or writes a pickle, evaluates text, or starts a shell: read from the source itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "tunebook"
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.save", "torch.jit.load", "os.system", "os.popen"}
CALLS |= {"yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "numpy.save", "np.save", "pandas.read_pickle"}
SAFE_LOADERS = {"_Loader", "SafeLoader", "CSafeLoader", "yaml.SafeLoader", "yaml.CSafeLoader"}


def faults(text: str) -> list[str]:
    """What in a module may run a stranger's code, by line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            found += [f"{node.lineno}: imports {name}" for name in names if name.split(".")[0] in MODULES]
        if isinstance(node, ast.Call):
            found += [f"{node.lineno}: {wrong}" for wrong in _call(node)]
    return found


def _call(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    given = {word.arg: word.value for word in node.keywords}
    found = [f"calls {name}"] if name in CALLS else []
    found += [
        f"passes {word}=True" for word in ("allow_pickle", "shell", "trust_remote_code") if _true(given.get(word))
    ]
    if "weights_only" in given and not _true(given["weights_only"]):
        found.append("passes weights_only=False")
    if name == "yaml.load":
        loader = given.get("Loader") or (node.args[1] if len(node.args) > 1 else None)
        if loader is None or ast.unparse(loader) not in SAFE_LOADERS:
            found.append("calls yaml.load without a safe loader")
    return found


def _true(value: ast.expr | None) -> bool:
    return value is not None and not (isinstance(value, ast.Constant) and value.value is False)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_runs_no_strangers_code(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.save(model, path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "yaml.load(text, yaml.FullLoader)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
        "exec(text)",
        "subprocess.run(command, shell=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=asked)",
        "load(path, weights_only=False)",
    ],
)
def test_each_forbidden_thing_would_be_found(line):
    assert faults(line)
