"""The built-in pages: without a problem, joined to each other, binding to plan paths that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebook.errors import PageError
from tunebook.pages.answers import check_answers, default_answers
from tunebook.pages.catalog import find_page, library_names, load_page
from tunebook.pages.components import Navigation
from tunebook.pages.parser import parse_page
from tunebook.plan.files import make_plan, set_values, values_by_path
from tunebook.plan.text import load_yaml

REFERENCE = Path(__file__).parents[3] / "shared/seed/phase-3-fine-tuning.md"
PAGES = ["phase-2-dataset-preparation", "phase-3-fine-tuning", "phase-4-model-comparison"]
PLAN = {"model": {"name": "x"}, "data": {"path": "x"}}


def test_the_library_holds_the_three_pages() -> None:
    assert library_names() == PAGES
    assert [load_page(name).title for name in PAGES] == [
        "Phase 2: Dataset Preparation",
        "Phase 3: Fine-Tuning Workflow",
        "Phase 4: Model Comparison",
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_built_in_page_has_no_problem_and_answers_itself(name: str) -> None:
    page = load_page(name)
    assert page.problems == []
    assert check_answers(page, default_answers(page))[1] == []


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_are_joined_by_their_navigation(name: str) -> None:
    page = load_page(name)
    (navigation,) = [part for part in page.components if isinstance(part, Navigation)]
    around = [""] + [load_page(other).title for other in PAGES] + [""]
    place = around.index(page.title)
    assert (navigation.previous, navigation.next) == (around[place - 1], around[place + 1])
    for title in (navigation.previous, navigation.next):
        found = find_page(title) if title else None
        assert (found is None) == (title == "")


@pytest.mark.parametrize("name", PAGES)
def test_every_question_of_a_form_says_what_it_is_for(name: str) -> None:
    """Prose stands above or below each field, or above all fields of its form."""
    for component in load_page(name).components:
        for group in getattr(component, "groups", ()):
            for field in group.fields:
                assert field.help or field.before or group.prose or group.after or component.prose, field.id


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_sets_exists_in_the_plan_and_takes_every_option(name: str) -> None:
    for question in load_page(name).questions:
        if not question.sets:
            continue
        for item in question.choices:
            value = f"[{item.label}]" if question.asks == "many" else item.label
            make_plan(set_values(PLAN, [f"{question.sets}={value}"]))
        if question.asks == "number":
            for limit in ("min", "max"):
                make_plan(set_values(PLAN, [f"{question.sets}={getattr(question, limit)}"]))


@pytest.mark.parametrize("name", PAGES)
def test_the_value_that_an_empty_answer_leaves_is_the_one_that_the_page_states(name: str) -> None:
    defaults = values_by_path(make_plan(PLAN))
    stated = [question for question in load_page(name).questions if question.sets and question.asks == "number"]
    for question in stated:
        assert load_yaml(question.placeholder) == defaults[question.sets], question.id  # type: ignore[attr-defined]
        assert f"mpty means {question.placeholder}" in question.help.text, question.id  # type: ignore[attr-defined]


def test_the_usual_option_is_the_default_of_the_plan() -> None:
    defaults = values_by_path(make_plan(PLAN))
    for name in ("phase-2-dataset-preparation", "phase-4-model-comparison"):
        for question in load_page(name).questions:
            if question.sets and question.asks == "one" and question.sets != "review.policy":
                usual = question.choice.find(str(question.default())).label  # type: ignore[attr-defined]
                assert load_yaml(usual) == defaults[question.sets], question.id


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference page does not stand beside this checkout")
def test_the_fine_tuning_page_takes_the_answers_of_the_reference_page() -> None:
    ours, reference = load_page("phase-3-fine-tuning"), parse_page(REFERENCE.read_bytes(), "reference")
    assert ours.id == reference.id

    def asked(page: object) -> object:
        return [(part.id, part.asks, [item.text for item in part.choices]) for part in page.questions]  # type: ignore[attr-defined]

    assert asked(ours) == asked(reference)


@pytest.mark.parametrize(
    "name", ["phase-3-fine-tuning", "phase-3-fine-tuning-workflow", "phase 3 fine tuning workflow"]
)
def test_a_built_in_page_is_found_by_stem_id_or_title(name: str) -> None:
    assert load_page(name).title == "Phase 3: Fine-Tuning Workflow"


def test_a_file_goes_before_a_built_in_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("phase-3-fine-tuning").write_text("---\ntitle: Mine\n---\n")
    assert load_page("phase-3-fine-tuning").title == "Mine"


def test_an_unknown_page_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(PageError, match="did you mean phase-3-fine-tuning"):
        load_page("phase-3-finetuning")
    with pytest.raises(PageError, match="cannot be read"):
        load_page(tmp_path)
