"""Pages in the API: answers are kept as they are given, in the file that the command line reads too."""

from __future__ import annotations

import pytest

from tests.studio.conftest import CHANGE
from tunebook.pages.answers import load_answers
from tunebook.steps import STEPS

KEY = "phase-3-fine-tuning"
HARD = ["<script>alert(1)</script>", "עברית ‮abc", "🙂" * 50, "a\nb\n  c: [", "{{ 7*7 }}", "'; --", "x" * 1_000_000]


@pytest.fixture
def give(client):
    def give(changes, key=KEY):
        return client.post(f"/api/pages/{key}/answers", headers=CHANGE, json={"changes": changes})

    return give


def test_an_answer_is_kept_at_once_in_an_answers_file(give, client, place):
    assert give({"learning-rate": "5e-5 (Aggressive)"}).json()["values"] == {"learning-rate": "5e-5 (Aggressive)"}
    give({"batch-size": "8 (Balanced)"})
    values = {"learning-rate": "5e-5 (Aggressive)", "batch-size": "8 (Balanced)"}
    assert client.get(f"/api/pages/{KEY}/answers").json()["values"] == values
    assert load_answers(place.answers_file(KEY)).values == values


@pytest.mark.parametrize("text", HARD, ids=range(len(HARD)))
def test_any_text_comes_back_as_it_was_given(give, client, text):
    give({"how-will-you-prevent-overfitting": text})
    assert client.get(f"/api/pages/{KEY}/answers").json()["values"]["how-will-you-prevent-overfitting"] == text


def test_an_answer_that_does_not_fit_is_named_and_the_others_are_kept(give):
    answer = give({"learning-rate": "7", "batch-size": "8 (Balanced)", "nothing": "x"}).json()
    assert answer["values"] == {"batch-size": "8 (Balanced)"}
    assert {fault["id"] for fault in answer["faults"]} == {"learning-rate", "nothing"}


def test_an_answer_that_does_not_fit_takes_no_earlier_one_with_it(give, client):
    page = "phase-2-dataset-preparation"
    give({"max-length": "2048"}, page)
    told = give({"max-length": "99999999", "seed": "7"}, page).json()
    assert [fault["id"] for fault in told["faults"]] == ["max-length"]
    assert told["values"] == {"max-length": "2048", "seed": "7"}
    assert client.get(f"/api/pages/{page}/answers").json()["values"] == told["values"]
    custom = "what-warmup-strategy-will-you-use"
    give({custom: "Linear warmup (gradual increase)"})
    told = give({custom: "no such thing", f"{custom}.custom": "0:0, 0.1:1"}).json()
    assert {fault["id"] for fault in told["faults"]} == {custom, f"{custom}.custom"}
    assert told["values"] == {custom: "Linear warmup (gradual increase)"}


def test_an_empty_answer_is_taken_back_and_a_follow_up_goes_with_its_option(give):
    custom = "what-warmup-strategy-will-you-use"
    said = give({custom: "Custom schedule", f"{custom}.custom": "0:0, 0.1:1"}).json()
    assert said["values"][f"{custom}.custom"] == "0:0, 0.1:1"
    assert give({custom: "Linear warmup (gradual increase)"}).json()["values"] == {
        custom: "Linear warmup (gradual increase)"
    }
    assert give({custom: ""}).json()["values"] == {}


def test_a_follow_up_stays_while_its_option_is_among_those_chosen(give, place):
    items = "- Loss\n- Speed\n- Custom (say which)\n"
    part = '{type: selection, id: what, multiple: true, title: "What?"}'
    (place.folder / "mine.md").write_text(f"---\ntitle: Mine\n---\n## A\n{part}\n\n{items}")
    both = ["Loss", "Custom (say which)"]
    assert give({"what": both, "what.custom": "memory"}, "own-mine").json()["faults"] == []
    kept = give({"what": ["Speed", *both]}, "own-mine").json()["values"]
    assert kept == {"what": ["Loss", "Speed", "Custom (say which)"], "what.custom": "memory"}
    assert give({"what": ["Loss"]}, "own-mine").json()["values"] == {"what": ["Loss"]}


def test_an_answers_file_of_something_else_is_left_as_it_is(give, client, place):
    path = place.answers_file(KEY)
    path.parent.mkdir()
    path.write_text("format: 1\npage: other\nanswers: {}\n")
    assert client.get(f"/api/pages/{KEY}/answers").json()["faults"]
    assert give({"batch-size": "8 (Balanced)"}).status_code == 409
    assert path.read_text() == "format: 1\npage: other\nanswers: {}\n"


def test_answers_that_a_reworded_page_asks_no_more_are_copied_before_they_go(give, client, place):
    page, file = place.folder / "mine.md", place.answers_file("own-mine")
    page.write_text("---\ntitle: Mine\n---\n## A\n{type: form}\n**Who?**\n\n{type: text, id: who}\n")
    give({"who": "me"}, "own-mine")
    for number, renamed in ((1, "person"), (2, "somebody")):
        before = file.read_text()
        page.write_text(f"---\ntitle: Mine\n---\n## A\n{{type: form}}\n**Who?**\n\n{{type: text, id: {renamed}}}\n")
        (fault,) = client.get("/api/pages/own-mine/answers").json()["faults"]
        copy = give({renamed: f"me {number}"}, "own-mine").json()["before"]
        assert (file.parent / copy).read_text() == before
        assert fault["id"] in before
        assert give({renamed: f"me {number}"}, "own-mine").json()["before"] == ""
    assert "who: me" in (file.parent / "own-mine.yaml.before").read_text()


def test_a_question_that_was_never_answered_is_not_missed_when_it_goes(give, client, place):
    page = place.folder / "mine.md"
    page.write_text(
        "---\ntitle: Mine\n---\n## A\n{type: form}\n**A?**\n\n{type: text, id: a}\n\n**B?**\n\n{type: text, id: b}\n"
    )
    give({"a": "1"}, "own-mine")
    page.write_text("---\ntitle: Mine\n---\n## A\n{type: form}\n**A?**\n\n{type: text, id: a}\n")
    assert client.get("/api/pages/own-mine/answers").json() == {"values": {"a": "1"}, "faults": []}
    assert give({"a": "2"}, "own-mine").json()["before"] == ""


def test_a_page_of_ones_own_is_found_and_its_faults_are_told_by_line(client, place, give):
    (place.folder / "mine.md").write_text(
        "---\ntitle: Mine\n---\n## A\n{type: form}\n**Who?**\n\n{type: text, id: who}\n"
    )
    (place.folder / "broken.md").write_text("---\ntitle: Broken\n---\n## A\n{type: selct}\n")
    (place.folder / "README.md").write_text("# no page\n")
    rows = {row["key"]: row for row in client.get("/api/pages").json()["pages"]}
    assert {key for key in rows if key.startswith("own-")} == {"own-mine", "own-broken"}
    assert rows["own-broken"]["faults"] == 1
    assert give({"who": "me"}, "own-mine").json()["values"] == {"who": "me"}
    assert [fault["line"] for fault in client.get("/api/pages/own-broken/source").json()["problems"]] == [5]
    assert give({"who": "me"}, "own-broken").status_code == 409


def test_a_page_that_leads_out_of_the_folder_is_not_offered(client, place, tmp_path_factory):
    secret = tmp_path_factory.mktemp("other") / "secret.md"
    secret.write_text("---\ntitle: Secret\n---\n")
    (place.folder / "link.md").symlink_to(secret)
    assert "Secret" not in client.get("/api/pages").text
    assert client.get("/api/pages/own-link").status_code == 404


def test_prose_is_read_and_what_was_not_understood_is_said(client):
    text = "no improvement for 3 evaluations, or when the moon is full"
    found = client.post("/api/rules", headers=CHANGE, json={"text": text}).json()
    assert [rule["kind"] for rule in found["rules"]] == ["plateau"]
    assert found["rules"][0]["says"]
    assert "moon" in found["not_understood"][0]


def test_an_order_is_judged_with_reasons(client):
    found = client.post("/api/order", headers=CHANGE, json={"lines": ["split", "validate"]}).json()
    assert not found["valid"]
    assert "must come before" in found["sentences"][0]
    assert found["misplaced"] == ["split"]


def test_a_request_that_does_not_fit_is_told_so(client):
    for body in ("", "no", "[]", "{}", '{"text": 1}', '{"text": "a", "purpose": "x"}', '{"text": "a", "more": 1}'):
        answer = client.post("/api/rules", headers=CHANGE, content=body)
        assert answer.status_code == 422
        assert answer.json()["error"]["what"]


def test_tasks_that_are_ticked_off_are_kept_and_other_tabs_are_told(client, place):
    at = f"/api/pages/{KEY}/tasks"
    assert client.get(at).json() == {"done": []}
    before = place.answers_stamp(KEY)
    client.post(at, json={"done": ["Order the steps", "<b>"]}, headers=CHANGE)
    assert client.get(at).json() == {"done": ["Order the steps", "<b>"]}
    assert place.answers_stamp(KEY) != before
    place.tasks_file(KEY).write_text("{damaged")
    assert client.get(at).json() == {"done": []}
    assert client.get("/api/pages/nowhere/tasks").status_code == 404


GOOD = "---\ntitle: Mine\n---\n\n## Ask\n\n{type: form}\n\n**Why?**\n\n{type: textarea}\n"
BAD = GOOD.replace("textarea", "textaera")


def test_faults_of_a_text_are_told_by_line(client):
    found = client.post("/api/pages/check", json={"text": BAD}, headers=CHANGE).json()
    assert not found["ok"]
    fault = found["problems"][-1]
    assert found["lines"][fault["line"] - 1] == "{type: textaera}"
    assert (fault["severity"], "textarea" in fault["message"]) == ("error", True)
    assert client.post("/api/pages/check", json={"text": GOOD}, headers=CHANGE).json()["ok"]


def test_a_page_of_ones_own_is_kept_and_can_be_answered_and_nothing_is_written_over(client, place):
    made = client.post("/api/pages", json={"text": GOOD, "name": "../My Page!.md"}, headers=CHANGE)
    assert (made.status_code, made.json()["key"]) == (201, "own-my-page")
    assert (place.folder / "pages" / "my-page.md").read_text() == GOOD
    assert client.get("/api/pages/own-my-page").json()["title"] == "Mine"
    again = client.post("/api/pages", json={"text": GOOD, "name": "my page"}, headers=CHANGE)
    assert (again.status_code, "already" in again.json()["error"]["what"]) == (409, True)
    assert client.post("/api/pages", json={"text": BAD, "name": "bad"}, headers=CHANGE).status_code == 409
    assert not (place.folder / "pages" / "bad.md").exists()


def test_a_page_that_cannot_be_answered_shows_its_source_and_is_looked_at_again(client, place):
    (place.folder / "mine.md").write_text(BAD)
    assert "cannot be answered yet" in client.get("/pages/own-mine").text
    found = client.get("/api/pages/own-mine/source").json()
    assert not found["ok"]
    (place.folder / "mine.md").write_text(GOOD + "\n")
    again = client.get("/api/pages/own-mine/source").json()
    assert again["ok"]
    assert again["stamp"] != found["stamp"]
    assert 'data-key="own-mine"' in client.get("/pages/own-mine").text
    assert client.get(f"/api/pages/{KEY}/source").status_code == 404


def test_rows_in_an_unworkable_place_are_named_by_their_own_text(client):
    lines = [step.title.upper() for step in STEPS]
    lines[0], lines[6] = lines[6], lines[0]
    found = client.post("/api/order", json={"lines": lines}, headers=CHANGE).json()
    assert lines[0] in found["misplaced"]
    assert set(found["misplaced"]) <= set(lines)
