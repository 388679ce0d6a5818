"""`tunebook replay`: where other stopping rules would have ended a run."""

from __future__ import annotations

from typing import Any

import click

from tunebook.cli.options import json_option, print_json, runs_option, say
from tunebook.runs.store import open_run, runs_folder


@click.command()
@click.argument("run")
@click.option("--stop", "text", required=True, metavar="TEXT", help="Stopping rules in words, as on the page.")
@runs_option
@json_option
def replay(run: str, text: str, runs_dir: str | None, as_json: bool) -> None:
    """Say where the rules in TEXT would have ended RUN, and what that would have cost or saved."""
    from tunebook.evaluate.replay import replay as replay_rules
    from tunebook.evaluate.replay import rules_from

    rules, not_understood = rules_from(text)
    found = replay_rules(open_run(run, runs_folder(runs_dir)), rules)
    found["not_understood"] = list(not_understood)
    for piece in not_understood:
        say(f"Not understood, and left out: {piece}")
    for name in found["not_measured"]:
        say(f"The run did not record {name.replace('_', ' ')}; the rule on it cannot fire.")
    if as_json:
        print_json(found)
    else:
        click.echo(_told(found))


def _told(found: dict[str, Any]) -> str:
    """The result in a few sentences."""
    actual = found["actual"]
    lines = [f"Rules: {'; '.join(found['rules'])}.", f"The run took {actual['step']:,} optimizer steps."]
    if not found["stops"]:
        return "\n".join([*lines, "These rules would have let it run to its end."])
    replayed, saved = found["replayed"], found["saved"]
    lines.append(f"These rules end it after step {replayed['step']:,} ({replayed['reason']}).")
    if saved["steps"] == 0:
        return "\n".join([*lines, "That is where it ended."])
    lines.append(f"That saves {saved['steps']:,} steps and {saved['minutes']:.1f} minutes.")
    if found["cost"] is not None:
        best = f"the best held-out loss is then {replayed['best_validation_loss']:.4f} (step {replayed['best_step']:,})"
        cost = f"{found['cost']:.4f} nats per token worse than" if found["cost"] > 0 else "as good as"
        lines.append(f"{best[0].upper() + best[1:]}, {cost} that of the whole run.")
    return "\n".join(lines)
