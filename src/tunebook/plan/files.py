"""`plan.yaml`: load it with every fault at once, save it the same way every time."""

from __future__ import annotations

import difflib
import reprlib
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from tunebook.errors import Fault, PlanError
from tunebook.files import write_text
from tunebook.plan.rules.types import Rule
from tunebook.plan.schema import Plan
from tunebook.plan.text import dump_yaml, load_yaml

_KEPT = {"origins", "format", "notes", "not_understood"}  # in the file, and not what a run is made of


def load_plan(path: Path) -> Plan:
    """Read and check a plan file. PlanError names every fault with its path and value."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(
            f"The plan {path} cannot be read ({_reason(error)}).", do="Give the path of a plan.yaml."
        ) from error
    try:
        value = load_yaml(text)
    except yaml.YAMLError as error:
        raise PlanError(f"The plan {path} is not valid YAML: {_first_line(error)}.", do="Mend that line.") from error
    if not isinstance(value, dict):
        raise PlanError(f"The plan {path} holds no sections.", do="`tunebook plan -o plan.yaml` makes one.")
    return make_plan(value, f"the plan {path}")


def make_plan(value: Mapping[str, Any], where: str = "the plan") -> Plan:
    """Validate plain values into a Plan; PlanError holds every fault at once."""
    try:
        plan = Plan.model_validate(value)
    except ValidationError as error:
        faults = [_fault(detail) for detail in error.errors()]
        what = f"{where[0].upper()}{where[1:]} has {len(faults)} fault{'s' * (len(faults) > 1)}."
        raise PlanError(what, faults=faults) from None
    return _with_settled_origins(plan, value)


def _with_settled_origins(plan: Plan, given: Mapping[str, Any]) -> Plan:
    """Let each origin hold its value as settled (metrics in their order), so that only what a hand edits differs."""
    settled, as_given = values_by_path(plan), dict(_leaves(given, ()))
    origins = {
        path: origin.model_copy(update={"value": settled[path]})
        if path in settled and path in as_given and _plain(origin.value) == _plain(as_given[path])
        else origin
        for path, origin in plan.origins.items()
    }
    return plan.model_copy(update={"origins": origins})


def dump_plan(plan: Plan) -> str:
    """The plan as YAML: the same plan gives the same bytes."""
    value = plan.model_dump(mode="json", by_alias=True)
    return "# A Tunebook plan. Edit any value; `tunebook plan --schema` says what there is.\n" + dump_yaml(value)


def save_plan(plan: Plan, path: Path) -> None:
    """Write `plan` to `path`, whole or not at all."""
    try:
        write_text(path, dump_plan(plan))
    except OSError as error:
        raise PlanError(
            f"The plan could not be written to {path} ({_reason(error)}).", do="Choose another place."
        ) from error


def set_values(value: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Apply `path=value` settings (values in YAML flow) to a plan's plain values; returns a new dict.

    PlanError names every setting that is not of that form or whose path does not exist.
    """
    result: dict[str, Any] = _copy(value)
    faults = []
    for setting in settings:
        name, _, text = setting.partition("=")
        path = name.strip()
        try:
            if fault := path_fault(path) if "=" in setting else "is not of the form path=value":
                raise ValueError(fault)
            if not text.strip():
                raise ValueError("is given no value; write null for none")
            new = load_yaml(text)
        except yaml.YAMLError as error:
            faults.append(Fault(path, f"{text!r} is not valid YAML: {_first_line(error)}"))
        except ValueError as error:
            faults.append(Fault(path, str(error)))
        else:
            put_value(result, path, new)
            result.setdefault("origins", {})[path] = {"from": "set", "why": "given with --set", "value": new}
    if faults:
        raise PlanError("A --set could not be applied.", do="`tunebook plan --schema` lists the paths.", faults=faults)
    return result


def path_fault(path: str) -> str:
    """Why nothing can be set at `path`, or nothing where it is a value of the plan."""
    known = [".".join(parts) for parts in _leaf_paths(Plan) if parts[0] not in _KEPT]
    if path in known:
        return ""
    below = [item for item in known if item.startswith(f"{path}.")]
    if below:
        return f"is a section; set {', '.join(below)}"
    close = difflib.get_close_matches(path, known, 1)
    return "is not a value of the plan" + (f"; did you mean {close[0]}?" if close else "")


def put_value(value: dict[str, Any], path: str, new: Any) -> None:
    """Set the value at a dotted path of a plan's plain values, making sections on the way."""
    *sections, last = path.split(".")
    for section in sections:
        if not isinstance(value.get(section), dict):
            value[section] = {}
        value = value[section]
    value[last] = new


def values_by_path(plan: Plan) -> dict[str, Any]:
    """Every value of the plan by its dotted path, `origins`, notes and what was not understood left out."""
    return dict(_leaves(plan.model_dump(mode="json", exclude=_KEPT), ()))


def origin_of(plan: Plan, path: str) -> tuple[str, str]:
    """(`from`, why) of the value at `path`; `hand` when it is not what was written there when the plan was made."""
    value = values_by_path(plan)[path]
    origin = plan.origins.get(path)
    if origin is None:
        return ("default", "") if _defaults()[path] == value else ("hand", "edited in the plan file")
    if _plain(origin.value) != _plain(value):
        return "hand", "edited in the plan file"
    return origin.origin, origin.why


@cache
def _defaults() -> dict[str, Any]:
    return values_by_path(Plan.model_validate({"model": {"name": "x"}, "data": {"path": "x"}}))


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _leaves(value: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        path = (*at, key)
        if isinstance(item, dict) and path != ("data", "columns"):
            yield from _leaves(item, path)
        else:
            yield ".".join(path), item


def _leaf_paths(model: type[BaseModel], at: tuple[str, ...] = ()) -> list[list[str]]:
    paths = []
    for name, info in model.model_fields.items():
        if name == "origins":
            continue
        section = _section(info.annotation)
        paths += _leaf_paths(section, (*at, name)) if section else [[*at, name]]
    return paths


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return next((found for found in map(_section, get_args(annotation)) if found), None)
    return None


def _fault(detail: Any) -> Fault:
    """Turn one pydantic error into our words: the path, the value given, and the nearest known key."""
    location = [str(part) for part in detail["loc"]]
    path = ".".join(location)
    if detail["type"] == "extra_forbidden":
        siblings = _keys_beside(location)
        close = difflib.get_close_matches(location[-1], siblings, 1, cutoff=0.4)
        return Fault(
            path, "is unknown" + (f"; did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(siblings))}")
        )
    if detail["type"] == "missing":
        return Fault(path, "is required")
    message = detail["msg"].removeprefix("Value error, ")
    given = detail.get("input")
    shown = "" if isinstance(given, dict) or detail["type"] == "value_error" else f" (it is {reprlib.repr(given)})"
    return Fault(path, message[0].lower() + message[1:] + shown)


def _keys_beside(location: list[str]) -> list[str]:
    """The keys that may stand where an unknown one was found; a rule's are those of its kind."""
    if location[:2] == ["stopping", "rules"] and len(location) == 5:
        kinds = {kind.model_fields["kind"].default: kind for kind in get_args(get_args(Rule)[0])}
        return list(kinds[location[3]].model_fields)
    known = {tuple(item[: len(location)]) for item in _leaf_paths(Plan)}
    return [item[-1] for item in known if len(item) == len(location) and list(item[:-1]) == location[:-1]]


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"


def _first_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0] or "it cannot be read"
    return f"{problem}, line {mark.line + 1}" if mark else str(problem)
