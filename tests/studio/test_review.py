"""The review API: blind until judged, kept at once, the command line's own verdicts."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.evaluate.runs import make_run
from tests.studio.conftest import CHANGE
from tunebook.evaluate.review import default_reviewer, queue, read_reviews
from tunebook.studio import api_review, command

AT = "/api/runs/done-1/review"


@pytest.fixture
def judge(client):
    def send(**words):
        return client.post(AT, json=words, headers=CHANGE)

    return send


def first(client):
    return client.get(AT).json()["items"][0]


def test_what_is_sent_before_a_verdict_does_not_tell_whose_answer_is_whose(client, place):
    found = client.get(AT).json()
    assert found["total"] == found["left"] == len(queue(place.run("done-1").folder)) > 0
    assert all(set(item) == {"step", "id", "prompt", "reference", "a", "b"} for item in found["items"])
    by_id = {item.id: item for item in queue(place.run("done-1").folder)}
    orders = {item["a"] == by_id[item["id"]].base for item in found["items"]}
    assert orders == {True, False}  # base first at times, tuned first at others


@pytest.mark.parametrize(("chosen", "verdict"), [("tuned", "better"), ("base", "worse"), ("same", "same")])
def test_a_choice_becomes_the_verdict_on_the_tuned_answer(client, judge, place, chosen, verdict):
    item = first(client)
    tuned = next(one for one in queue(place.run("done-1").folder) if one.id == item["id"]).tuned
    letter = "a" if item["a"] == tuned else "b"
    given = {"tuned": letter, "base": "b" if letter == "a" else "a", "same": "same"}[chosen]
    told = judge(step=item["step"], id=item["id"], chosen=given).json()
    assert (told["tuned"], told["verdict"], told["reviews"][verdict]) == (letter, verdict, 1)
    kept = read_reviews(place.run("done-1").folder)
    assert [(row["reviewer"], row["verdict"], row["action"]) for row in kept] == [(default_reviewer(), verdict, "keep")]
    assert item["id"] not in [other["id"] for other in client.get(AT).json()["items"]]


def test_a_later_word_on_the_same_pair_counts_instead(client, judge, place):
    item = first(client)
    judge(step=item["step"], id=item["id"], chosen="a")
    words = {"action": "fix", "fixed": " As it should be. ", "note": "n"}
    told = judge(step=item["step"], id=item["id"], chosen="a", again=True, **words).json()
    assert (told["reviews"]["judged"], told["reviews"]["fixed"]) == (1, 1)
    (kept,) = read_reviews(place.run("done-1").folder)
    assert (kept["fixed"], kept["note"]) == ("As it should be.", "n")


def test_a_first_word_on_a_pair_that_was_judged_meanwhile_is_refused_and_the_other_stays(client, judge, place):
    item = first(client)
    judge(step=item["step"], id=item["id"], chosen="a", action="fix", fixed="As it should be.")
    late = judge(step=item["step"], id=item["id"], chosen="b")
    assert (late.status_code, late.json()["error"]["what"]) == (409, "This pair was judged meanwhile.")
    (kept,) = read_reviews(place.run("done-1").folder)
    assert kept["fixed"] == "As it should be."


def test_what_cannot_be_kept_is_said_and_writes_nothing(client, judge, place):
    item = first(client)
    assert judge(step=item["step"], id="nobody", chosen="a").status_code == 404
    assert judge(step=item["step"], id=item["id"], chosen="a", action="fix", fixed=" ").status_code == 409
    assert judge(step=item["step"], id=item["id"], chosen="a", action="keep", fixed="x").status_code == 409
    assert judge(step=item["step"], id=item["id"], chosen="perhaps").status_code == 422
    assert not (place.run("done-1").folder / "reviews.jsonl").exists()


def test_a_checkpoint_is_rejected_and_taken_back(client):
    said = client.post(f"{AT}/checkpoint", json={"step": 40}, headers=CHANGE).json()
    assert said["reviews"]["rejected_checkpoints"] == [40]
    said = client.post(f"{AT}/checkpoint", json={"step": 40, "rejected": False}, headers=CHANGE).json()
    assert said["reviews"]["rejected_checkpoints"] == []


def test_another_policy_reads_other_answers(client):
    assert client.get(AT, params={"policy": "none"}).json()["total"] == 0
    assert client.get(AT, params={"policy": "all"}).json()["total"] == 12
    assert client.get(AT, params={"policy": "some"}).status_code == 422


def test_answers_of_a_new_evaluation_join_the_queue(client, place):
    before = client.get(AT, params={"policy": "all"}).json()["total"]
    samples = place.run("done-1").folder / "samples"
    value = json.loads((samples / "step-40.json").read_text())
    (samples / "step-30.json").write_text(json.dumps(value | {"step": 30}))
    assert client.get(AT, params={"policy": "all"}).json()["total"] == 2 * before


def test_verdicts_reach_the_report(client, judge):
    item = first(client)
    judge(step=item["step"], id=item["id"], chosen="same")
    assert client.get("/api/runs/done-1/report").json()["reviews"]["same"] == 1


@pytest.fixture
def export(client, monkeypatch):
    """Ask for training rows, which the command line makes of `rows`; the answer."""

    def export(rows):
        def run(words, **options):
            (to,) = (word.removeprefix("--to=") for word in words if word.startswith("--to="))
            with open(to, "w") as file:  # noqa: PTH123
                file.write(rows)
            return subprocess.CompletedProcess(words, 0, "", f"Wrote 1 row to {to}.\n")

        monkeypatch.setattr(command.subprocess, "run", run)
        return client.post(f"{AT}/export", json={}, headers=CHANGE).json()

    return export


def test_training_rows_are_written_over_no_file_that_somebody_may_have_edited(export, place):
    first = export("one\n")
    assert (first["file"], first["said"]) == ("done-1-fixed.jsonl", "Wrote 1 row to done-1-fixed.jsonl.")
    assert export("one\n")["file"] == "done-1-fixed.jsonl", "the same rows again"
    (place.folder / "done-1-fixed.jsonl").write_text("edited\n")
    assert export("one\n")["file"] == "done-1-fixed-2.jsonl"
    assert export("two\n")["file"] == "done-1-fixed-3.jsonl"
    texts = {path.name: path.read_text() for path in place.folder.glob("*.jsonl")}
    assert texts == {
        "done-1-fixed.jsonl": "edited\n",
        "done-1-fixed-2.jsonl": "one\n",
        "done-1-fixed-3.jsonl": "two\n",
    }
    assert not list(place.folder.glob(".*.part"))


def test_training_rows_that_could_not_be_made_leave_nothing(client, place, monkeypatch):
    said = subprocess.CompletedProcess([], 1, "", "No answer was fixed.")
    monkeypatch.setattr(command.subprocess, "run", lambda *_, **__: said)
    answer = client.post(f"{AT}/export", json={}, headers=CHANGE)
    assert answer.json()["error"]["what"] == "No answer was fixed."
    assert not list(place.folder.glob(".*.part"))


def test_only_the_queues_asked_for_last_are_held(client, place):
    for number in range(2, 6):
        make_run(place.runs / f"done-{number}", steps=40)
    for number in range(1, 6):
        for policy in ("all", "random", "difficult"):
            assert client.get(f"/api/runs/done-{number}/review", params={"policy": policy}).status_code == 200
    assert len(api_review._queues) <= 8
