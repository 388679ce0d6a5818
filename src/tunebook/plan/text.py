"""YAML as plans are written: numbers as people write them, and what could be read in two ways refused."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Safe YAML with numbers as people write them; no key is given twice, and no alias can make a small file huge."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            problem = f"the alias *{event.anchor} is not read, write the value itself"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        if re.fullmatch(r"[-+]?[1-9]\d{0,2}\.000", node.value):
            short = node.value[:-4]
            problem = f"{node.value} can mean {short} or {short}000; write the one that you mean"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return super().construct_yaml_float(node)


class _Dumper(yaml.SafeDumper):
    """Quotes the text `3e-5`, which `_Loader` would otherwise read back as a number."""


_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")  # line breaks to YAML, and marks: only escapes keep them


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if _BREAKS.search(value) else None)


_Dumper.add_representer(str, _text)
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_NUMBERS = {  # plain decimals; to YAML 1.1, `0123` is 83 and `1:30` is 90
    _INT: r"[-+]?(?:0|[1-9][\d_]*)$",
    _FLOAT: r"[-+]?(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*|\d+(?=[eE]))(?:[eE][-+]?\d+)?$|[-+]?\.(?i:inf)$|\.(?i:nan)$",
}
_Loader.add_constructor(_FLOAT, _Loader.construct_yaml_float)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in kinds if tag not in _NUMBERS]
    for first, kinds in _Loader.yaml_implicit_resolvers.items()
}
for _tag, _form in _NUMBERS.items():
    for _kind in (_Loader, _Dumper):  # the dumper quotes what either kind of YAML takes for a number
        _kind.add_implicit_resolver(_tag, re.compile(_form, re.ASCII), list("-+.0123456789"))


def load_yaml(text: str) -> Any:
    """The YAML value of `text`, with `3e-5` read as a number. Raises yaml.YAMLError, for whatever is wrong with it."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except ValueError as error:  # the 99th of a month, an integer of 5,000 digits
        raise yaml.YAMLError(str(error)) from None


def dump_yaml(value: Any) -> str:
    """`value` as YAML that `load_yaml` gives back: the same value gives the same bytes."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
