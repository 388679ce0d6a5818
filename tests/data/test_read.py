"""Files of every kind and form are recognised by looking at them, and say the same whatever their kind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import tiny_tokenizer
from tunebook.data import jsonl
from tunebook.data.conversation import Conversation, Problem, Row
from tunebook.data.gate import check_data
from tunebook.data.jsonl import read_json
from tunebook.data.read import open_source
from tunebook.data.split import split
from tunebook.errors import DataError
from tunebook.plan.schema import DataPlan

PAIRS = [{"prompt": f'Question {i}: Größe, 🦊\n"quoted"?', "completion": f"Answer, {i}\n  and more"} for i in range(40)]
CHATS = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"q{i}"},
            {"role": "assistant", "content": f"a{i}", "train": i % 2 == 0},
            {"role": "user", "content": "more"},
            {"role": "assistant", "content": "no"},
        ]
    }
    for i in range(30)
]


def write(path: Path, rows: list[dict]) -> Path:
    """Write rows as the kind of file that the ending says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            flat = (
                {key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()}
                for row in rows
            )
            writer.writerows(flat)
    return path


@pytest.mark.parametrize("rows", [PAIRS, CHATS], ids=["pairs", "chats"])
def test_the_same_rows_in_four_kinds_of_file_give_the_same_token_ids_and_split(rows, tmp_path):
    seen = []
    for ending in ("jsonl", "json", "csv", "parquet"):
        data = DataPlan(path=write(tmp_path / f"rows.{ending}", rows).name, validation_share=0.3)
        examples = check_data(data, tmp_path, tiny_tokenizer(), tmp_path / "cache").examples
        parts = split(examples, data, 42)
        ids = [example.ids.tolist() for example in examples]
        seen.append((ids, examples.row_ids, examples.fingerprint, parts.train_indices.tolist(), parts.fingerprint))
    assert len(seen[0][0]) == len(rows)
    assert all(item == seen[0] for item in seen[1:])
    assert 0 < len(seen[0][3]) < len(rows)


def roles(path: Path, **columns: str) -> list[tuple[str, str]]:
    (conversation,) = open_source(path, columns or None).conversations()
    assert isinstance(conversation, Conversation), conversation
    return [(turn.role, turn.content) for turn in conversation.messages]


FORMS = {
    "messages": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    "other name": {"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "alpaca": {"instruction": "q", "input": "", "output": "a"},
    "dolly": {"instruction": "q", "context": "", "response": "a", "category": "open"},
    "prompt": {"prompt": "q", "completion": "a"},
    "response": {"prompt": "q", "response": "a"},
    "question": {"question": "q", "answer": "a"},
    "input": {"input": "q", "output": "a"},
    "prompt messages": {
        "prompt": [{"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": "a"}],
    },
    "choices": {"query": "q", "choices": ["x", "a"], "gold": 1},
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_found_by_its_columns(form, tmp_path):
    assert roles(write(tmp_path / "x.jsonl", [FORMS[form]])) == [("user", "q"), ("assistant", "a")]


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"instruction": "Add.", "input": "1 and 2", "completion": "3"}, "Add.\n\n1 and 2"),
        ({"question": "Who?", "context": "Ada wrote it.", "answer": "Ada"}, "Who?\n\nAda wrote it."),
        ({"question": "Who?", "context": {"pages": [1]}, "answer": "Ada"}, "Who?"),
    ],
)
def test_what_a_question_is_about_stands_below_it(row, asked, tmp_path):
    path = write(tmp_path / "x.jsonl", [row])
    assert roles(path)[0] == ("user", asked)
    columns = {"prompt": "question", "completion": "answer"} if "question" in row else None
    assert open_source(path, columns).unused == (("context",) if columns and isinstance(row["context"], str) else ())


def test_history_is_taken_too_where_the_answer_is_called_a_response(tmp_path):
    row = {"instruction": "And his age?", "response": "41", "history": [["Who is Bo?", "A clerk."]]}
    said = [text for _, text in roles(write(tmp_path / "x.jsonl", [row]))]
    assert said == ["Who is Bo?", "A clerk.", "And his age?", "41"]


def test_alpaca_takes_input_system_and_history(tmp_path):
    row = {"instruction": "Add.", "input": "1 and 2", "output": "3", "system": "Count.", "history": [["hi", "ho"]]}
    assert roles(write(tmp_path / "x.jsonl", [row])) == [
        ("system", "Count."),
        ("user", "hi"),
        ("assistant", "ho"),
        ("user", "Add.\n\n1 and 2"),
        ("assistant", "3"),
    ]


def test_an_empty_list_of_tool_calls_is_no_call(tmp_path):
    answer = {"role": "assistant", "content": "a", "tool_calls": []}
    path = write(tmp_path / "x.jsonl", [{"messages": [{"role": "user", "content": "q"}, answer]}])
    (conversation,) = open_source(path).conversations()
    assert isinstance(conversation, Conversation)
    assert conversation.messages[1].extra == {}


def test_sharegpt_calls_and_observations_become_tool_turns(tmp_path):
    turns = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
        {"from": "observation", "value": "2"},
        {"from": "gpt", "value": "a"},
    ]
    tools = json.dumps([{"name": "f", "description": "d", "parameters": {}}])
    path = write(tmp_path / "x.jsonl", [{"conversations": turns, "tools": tools, "system": "s"}])
    (conversation,) = open_source(path).conversations()
    assert isinstance(conversation, Conversation)
    assert [turn.role for turn in conversation.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert conversation.messages[2].extra["tool_calls"] == [
        {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    ]
    assert conversation.tools == (
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}},
    )


def test_an_unknown_form_is_refused_with_its_columns_and_the_mapping_and_giving_it_works(tmp_path):
    path = write(tmp_path / "x.csv", [{"text": "Where is my card?", "category": "card_arrival"}])
    with pytest.raises(DataError) as refused:
        open_source(path)
    assert "text, category" in str(refused.value)
    assert "--columns prompt=text --columns completion=category" in str(refused.value)
    assert roles(path, prompt="text", completion="category") == [
        ("user", "Where is my card?"),
        ("assistant", "card_arrival"),
    ]


def test_turns_with_other_key_names_and_roles_are_mapped(tmp_path):
    turns = [{"speaker": "USER", "utterance": "q"}, {"speaker": "SYSTEM", "utterance": "a"}]
    path = write(tmp_path / "x.json", [{"dialogue_id": "7", "turns": turns}])
    with pytest.raises(DataError) as refused:
        open_source(path)
    asked = str(refused.value).split("Give the mapping: ")[1].split(" (in a plan")[0]
    mapping = dict(item.split("=") for item in asked.replace("--columns ", "").split())
    assert roles(path, **mapping) == [("user", "q"), ("assistant", "a")]
    (conversation,) = open_source(path, mapping).conversations()
    assert conversation.group == "7"


def test_a_mapping_reaches_into_a_row_by_a_path(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"instruction": "i", "instances": [{"input": "n", "output": "o"}]}])
    with pytest.raises(DataError) as refused:
        open_source(path)
    assert "--columns output=instances.0.output" in str(refused.value)
    assert roles(path, instruction="instruction", input="instances.0.input", output="instances.0.output") == [
        ("user", "i\n\nn"),
        ("assistant", "o"),
    ]


def test_two_files_of_lines_are_read_together_once_the_mapping_says_so(tmp_path):
    (tmp_path / "all.nl").write_text("list files\ncount words\n")
    (tmp_path / "all.cm").write_text("ls\nwc -w\n")
    with pytest.raises(DataError) as refused:
        open_source(tmp_path / "all.nl")
    assert "--columns prompt=all.nl --columns completion=all.cm" in str(refused.value)
    rows = list(open_source(tmp_path / "all.nl", {"prompt": "all.nl", "completion": "all.cm"}).conversations())
    assert [[turn.content for turn in row.messages] for row in rows] == [["list files", "ls"], ["count words", "wc -w"]]


def test_files_of_lines_belong_together_though_one_lacks_its_last_line_end(tmp_path):
    (tmp_path / "all.nl").write_text("list files\ncount words\n")
    (tmp_path / "all.cm").write_text("ls\nwc -w")
    rows = list(open_source(tmp_path / "all.nl", {"prompt": "all.nl", "completion": "all.cm"}).conversations())
    assert [row.messages[1].content for row in rows] == ["ls", "wc -w"]


def test_a_csv_header_may_have_a_line_break_in_a_cell(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('"prompt","completion","a note\nof two lines"\nq,a,n\n')
    assert roles(path) == [("user", "q"), ("assistant", "a")]


def test_choices_are_found_in_csv_where_a_list_stands_as_its_json_text(tmp_path):
    assert roles(write(tmp_path / "x.csv", [FORMS["choices"]])) == [("user", "q"), ("assistant", "a")]


def test_a_mapping_that_does_not_fit_names_every_fault_at_once(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"a": "q", "b": "r"}])
    with pytest.raises(DataError) as refused:
        open_source(path, {"promt": "a", "completion": "c"})
    assert "did you mean prompt?" in str(refused.value)
    assert "c: is no column of x.jsonl; there are a, b" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.jsonl", b"", "is empty"),
        ("blank.jsonl", b"\n\n  \n", "has no rows"),
        ("empty.json", b"[]", "has no rows"),
        ("header.csv", b"prompt,completion\n", "has no rows"),
        ("wide.jsonl", '{"prompt": "a"}'.encode("utf-16"), "UTF-16"),
        ("packed.jsonl", b"\x1f\x8b\x08\x00", "compressed"),
        ("fake.parquet", b"hello", "not a Parquet file"),
        ("torn.parquet", b"PAR1hello", "cannot be read as Parquet"),
        ("torn.json", b'[{"prompt": "a", "completion": "b"},\n{"prompt": ', "line 2"),
        ("comma.json", b'[{"prompt": "a", "completion": "b"}\n{"prompt": "c"}]', "line 2: ',' was expected"),
        ("rest.json", b'[{"prompt": "a", "completion": "b"}] x', "follows the end"),
        ("twice.csv", b"a,a\n1,2\n", "name every column once"),
        ("quote.csv", b'"a"b,c\n1,2\n', "header line of"),
        ("prose.txt", b"Once upon a time.\n", "plain text"),
    ],
)
def test_an_unusable_file_is_refused_in_one_sentence(name, content, says, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as refused:
        list(open_source(tmp_path / name).conversations())
    assert says in str(refused.value)
    assert name in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="There is no data file"):
        open_source(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        open_source(tmp_path)


def test_json_lines_under_the_name_json_are_read_as_lines(tmp_path):
    path = tmp_path / "lines.json"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n')
    source = open_source(path)
    assert source.kind == "jsonl"
    assert len(list(source.conversations())) == 2


@pytest.mark.parametrize("size", [60_000, 65_536, 200_000])
def test_json_lines_under_the_name_json_are_read_as_lines_however_long_the_first_is(size, tmp_path):
    row = json.dumps({"prompt": "a", "completion": ""})
    path = write(tmp_path / "x.jsonl", [{"prompt": "a", "completion": "b" * (size - len(row) - 1)}] * 2)
    path = path.rename(tmp_path / "lines.json")
    source = open_source(path)
    assert (source.kind, len(list(source.conversations()))) == ("jsonl", 2)


def test_tabs_part_the_cells_of_a_tsv_file_whatever_else_its_header_holds(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("prompt\tcompletion\ttopic, kind, year, place\nq\ta\tn\n")
    assert roles(path) == [("user", "q"), ("assistant", "a")]


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_line(tmp_path):
    (tmp_path / "all.nl").write_text("list\n", encoding="utf-8-sig")
    (tmp_path / "all.cm").write_text("ls\n", encoding="utf-8-sig")
    assert roles(tmp_path / "all.nl", prompt="all.nl", completion="all.cm") == [("user", "list"), ("assistant", "ls")]


def test_one_conversation_alone_in_a_json_file_is_one_row(tmp_path):
    path = tmp_path / "one.json"
    path.write_text(json.dumps(FORMS["messages"]))
    assert roles(path) == [("user", "q"), ("assistant", "a")]


def test_an_array_under_the_name_jsonl_is_read_as_an_array(tmp_path):
    path = tmp_path / "array.jsonl"
    path.write_text(json.dumps(PAIRS, indent=2))
    assert open_source(path).kind == "json"
    assert len(list(open_source(path).conversations())) == len(PAIRS)


def test_a_column_that_only_late_rows_have_is_read(tmp_path):
    late = {"prompt": "q", "completion": "a", "system": "Be kind."}
    path = write(tmp_path / "x.jsonl", [{"prompt": f"q{i}", "completion": "a"} for i in range(200)] + [late])
    *_, last = open_source(path).conversations()
    assert isinstance(last, Conversation)
    assert [turn.role for turn in last.messages] == ["system", "user", "assistant"]


def test_rows_inside_one_wrapping_object_are_found(tmp_path):
    path = tmp_path / "wrapped.json"
    path.write_text('{"version": 2, "data": [{"prompt": "a", "completion": "b"}]}')
    assert roles(path) == [("user", "a"), ("assistant", "b")]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.slow
@settings(deadline=None)
@given(rows=st.lists(st.dictionaries(st.text(max_size=3), values, max_size=3), max_size=6), piece=st.integers(1, 40))
def test_an_array_read_in_pieces_is_the_array_read_whole(rows, piece, tmp_path_factory):
    path = tmp_path_factory.mktemp("array") / "rows.json"
    text = json.dumps(rows, ensure_ascii=False, indent=piece % 3 or None)
    path.write_bytes(text.encode("utf-8", "replace"))
    before, jsonl._PIECE = jsonl._PIECE, piece
    try:
        read = list(read_json(path))
    finally:
        jsonl._PIECE = before
    assert [row.value for row in read if isinstance(row, Row)] == json.loads(path.read_bytes())
    assert [row.line for row in read] == list(range(1, len(rows) + 1))


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data sets for trials lie beside the repository, not in it")
@pytest.mark.parametrize(
    "name",
    [
        str(path.relative_to(SHARED))
        for path in sorted(SHARED.rglob("*"))
        if path.suffix in (".json", ".jsonl", ".csv", ".nl")
    ],
)
def test_every_trial_data_set_is_recognised_or_the_mapping_that_is_named_works(name):
    columns = None
    try:
        source = open_source(SHARED / name)
    except DataError as refused:
        asked = str(refused).split("--columns ", 1)[1].split(" (in a plan")[0].removesuffix(".")
        columns = dict(item.split("=") for item in asked.replace("--columns ", "").split())
        source = open_source(SHARED / name, columns)
    rows = list(source.conversations())
    bad = [row for row in rows if isinstance(row, Problem)]
    assert len(bad) <= 0.05 * len(rows), bad[:3]
