"""What a deployment test asks of a running server, through the `openai` client as anybody's program would."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tunebook.export.server import Server

SECONDS = 300.0  # for one request
CALLERS = 8
CALLER_TOKENS = 24
LONG_TOKENS = 2048
Chat = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Expected:
    """A conversation, how many tokens its prompt had in training, and the tuned model's answer to it.

    `room`: how many tokens the answer may have, by the plan and by what the model takes in all.
    """

    id: str
    chat: Chat
    prompt_tokens: int
    answer: str
    ended: bool
    room: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said: `finish` is `stop` or `length`; seconds from the request to the end of the answer."""

    text: str
    finish: str
    prompt_tokens: int
    tokens: int
    seconds: float
    first_token: float = 0.0


@dataclass(slots=True)
class Findings:
    """Checks with their outcome, in order, and what was measured."""

    checks: list[dict[str, Any]] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, ok: bool, detail: str) -> bool:
        """Note the outcome of one check and return it."""
        self.checks.append({"check": name, "ok": ok, "detail": detail})
        return ok

    def attempt(self, name: str, check: Callable[[], tuple[bool, str]]) -> bool:
        """Run a check; whatever it raises is its failure, in words."""
        try:
            ok, detail = check()
        except Exception as error:  # the client and the server may raise anything; each is a finding
            ok, detail = False, f"{type(error).__name__}: {str(error)[:300]}"
        return self.add(name, ok, detail)


class Client:
    """The `openai` client, pointed at one server."""

    def __init__(self, server: Server) -> None:
        import openai

        web = openai.DefaultHttpxClient(trust_env=False)  # no proxy between us and ourselves
        self.api = openai.OpenAI(
            base_url=server.address, api_key="none", timeout=SECONDS, max_retries=0, http_client=web
        )
        self.model = server.model

    def models(self) -> list[str]:
        """Names of the models that the server lists."""
        return [model.id for model in self.api.models.list()]

    def ask(self, chat: Chat, tokens: int) -> Reply:
        """One chat completion, the likeliest answer, `tokens` long at most."""
        started = time.perf_counter()
        messages: Any = chat
        reply = self.api.chat.completions.create(model=self.model, messages=messages, temperature=0, max_tokens=tokens)
        seconds = time.perf_counter() - started
        choice, usage = reply.choices[0], reply.usage
        text, finish = choice.message.content or "", str(choice.finish_reason)
        return Reply(
            text, finish, usage.prompt_tokens if usage else 0, usage.completion_tokens if usage else 0, seconds
        )

    def stream(self, chat: Chat, tokens: int) -> Reply:
        """The same, piece by piece; `first_token` is when the first words came."""
        started, first, finish = time.perf_counter(), 0.0, ""
        pieces: list[str] = []
        messages: Any = chat
        chunks = self.api.chat.completions.create(
            model=self.model, messages=messages, temperature=0, max_tokens=tokens, stream=True
        )
        for chunk in chunks:
            for choice in chunk.choices:
                if choice.delta.content:
                    first = first or time.perf_counter() - started
                    pieces.append(choice.delta.content)
                finish = str(choice.finish_reason or finish)
        return Reply("".join(pieces), finish, 0, len(pieces), time.perf_counter() - started, first)

    def refused(self, **request: Any) -> str:
        """The status with which a bad request is answered; '' when it was answered as if it were good."""
        import openai

        # once more, since the server closes a connection after a fault of its own
        api = self.api.with_options(max_retries=1)
        try:
            api.post("/chat/completions", body=request, cast_to=object)
        except openai.APIStatusError as error:
            return str(error.status_code)
        return ""


def run_checks(
    found: Findings,
    server: Server,
    expected: Sequence[Expected],
    longest: int,
    say: Callable[[str], None],
) -> list[Reply | None]:
    """Make every check on a running server; returns its reply to each expected conversation.

    `longest`: tokens of a prompt that the server must take.
    """
    client = Client(server)
    found.measured["seconds_to_ready"] = round(server.seconds_to_ready, 1)
    found.attempt("health", lambda: (server.healthy(), "/health answers"))
    found.attempt("models", lambda: _lists(client))
    say("Asking the held-out prompts over HTTP ...")
    replies = _replies(found, client, expected)
    if None in replies:  # it died or hangs: nothing more is to be learnt from it, and each question would take its time
        found.add("health afterwards", server.healthy(), "/health after the answer that did not come")
        return replies
    _measure(found, [reply for reply in replies if reply])
    if replies:
        found.attempt("streaming", lambda: _streams(found, client, expected[0], replies[0]))
    say("A long prompt, bad requests, eight callers at once ...")
    found.attempt("long prompt", lambda: _takes_long(client, min(LONG_TOKENS, longest - 16)))
    found.attempt("bad requests", lambda: _refuses_bad(client, server))
    if expected:
        found.attempt(f"{CALLERS} callers at once", lambda: _serves_many(found, client, expected, replies))
    found.measured["memory_bytes"] = server.memory()
    found.attempt("health afterwards", lambda: (server.healthy(), "/health answers after all of it"))
    return replies


def same_start(reply: str, answer: str) -> bool:
    """Is `reply` how `answer` begins? A letter cut in two at the end of a short reply does not count."""
    return answer.startswith(reply.rstrip("\ufffd"))


def _lists(client: Client) -> tuple[bool, str]:
    models = client.models()
    return client.model.partition(":")[0] in models, f"/v1/models lists {', '.join(models) or 'nothing'}"


def _replies(found: Findings, client: Client, expected: Sequence[Expected]) -> list[Reply | None]:
    """A reply to each conversation; none from the first one on that the server does not answer."""
    replies: list[Reply | None] = []
    for item in expected:
        try:
            replies.append(client.ask(item.chat, item.room))
        except Exception as error:  # the client may raise anything; it is a finding
            found.add("chat completion", False, f"{item.id}: {type(error).__name__}: {str(error)[:300]}")
            break
    return replies + [None] * (len(expected) - len(replies))


def _measure(found: Findings, replies: list[Reply]) -> None:
    if replies:
        seconds = [reply.seconds for reply in replies]
        tokens = sum(reply.tokens for reply in replies)
        found.add("chat completion", True, f"{len(replies)} answers in {sum(seconds):.1f} s")
        found.measured |= {
            "latency_seconds": {"median": round(statistics.median(seconds), 3), "max": round(max(seconds), 3)},
            "tokens_per_second": round(tokens / sum(seconds), 1),
        }


def _streams(found: Findings, client: Client, item: Expected, plain: Reply | None) -> tuple[bool, str]:
    reply = client.stream(item.chat, item.room)
    found.measured["first_token_seconds"] = round(reply.first_token, 3)
    same = plain is not None and reply.finish == plain.finish and _letters(reply.text) == _letters(plain.text)
    detail = "the pieces make up the plain answer" if same else f"streamed {reply.text[:60]!r}, {reply.finish}"
    return same, f"{detail}; {reply.tokens} pieces, the first after {reply.first_token:.2f} s"


def _letters(text: str) -> str:
    """Text without the marks of letters that were cut in two, which servers place differently when they stream."""
    return text.replace("\ufffd", "").strip()


def _takes_long(client: Client, tokens: int) -> tuple[bool, str]:
    few, more = (client.ask(_words(count), 1).prompt_tokens for count in (8, 24))
    count = int((tokens - few) / max(0.5, (more - few) / 16)) + 8
    reply = client.ask(_words(count), 8)
    return (
        reply.prompt_tokens >= tokens // 2,
        f"a prompt of {reply.prompt_tokens} tokens was answered in {reply.seconds:.1f} s",
    )


def _words(count: int) -> Chat:
    return [{"role": "user", "content": "word " * count}]


def _refuses_bad(client: Client, server: Server) -> tuple[bool, str]:
    chat = [{"role": "user", "content": "Hi"}]
    bad: dict[str, dict[str, Any]] = {
        "no messages": {"model": client.model},
        "another model": {"model": "no-such-model", "messages": chat},
        "an unknown field": {"model": client.model, "messages": chat, "no_such_field": 1},
        "a temperature that is a word": {
            "model": client.model,
            "messages": chat,
            "temperature": "hot",
            "max_tokens": 4,
        },
    }
    statuses = {name: client.refused(**request) for name, request in bad.items()}
    taken = [name for name, status in statuses.items() if not status]
    detail = ", ".join(f"{name}: {status or 'answered'}" for name, status in statuses.items())
    return not taken and server.healthy(), detail


def _serves_many(
    found: Findings, client: Client, expected: Sequence[Expected], replies: Sequence[Reply | None]
) -> tuple[bool, str]:
    """Each of eight callers must get the beginning of what a single caller got, and as many tokens of it."""
    asked = [place % len(expected) for place in range(CALLERS)]
    rooms = [min(CALLER_TOKENS, expected[place].room) for place in asked]
    started = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        many = list(pool.map(lambda place, room: client.ask(expected[place].chat, room), asked, rooms))
    seconds = time.perf_counter() - started
    alone = [replies[place] for place in asked]
    same = sum(
        one is not None and same_start(reply.text, one.text) and reply.tokens == min(room, one.tokens)
        for reply, one, room in zip(many, alone, rooms, strict=True)
    )
    found.measured |= {
        "callers": CALLERS,
        "callers_tokens_per_second": round(sum(reply.tokens for reply in many) / seconds, 1),
        "callers_latency_seconds": round(max(reply.seconds for reply in many), 3),
    }
    return same == CALLERS, f"{same} of {CALLERS} got what one caller got; the slowest waited {seconds:.1f} s"
