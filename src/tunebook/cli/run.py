"""`tunebook run`, `resume`, `stop` and `demo`: start runs, go on with them, end them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunebook.cli.options import crew_options, runs_option, say, set_option
from tunebook.runs.store import Run, open_run, runs_folder

if TYPE_CHECKING:
    from tunebook.workers.group import Workers
    from tunebook.workflow.launch import Crew

# The plan of the demo: the answers ask for more than minutes on two cores allow, so these limits are set on top.
DEMO_SETTINGS = (
    "training.epochs.min=1",
    "training.epochs.max=2",
    "data.max_length=256",
    "data.validation_path=held_out.jsonl",
    "evaluation.max_new_tokens=96",
)


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the run: small letters, digits, '.', '_', '-' [default: from the data's name].")
@runs_option
@set_option
@crew_options
@click.option("--detach", is_flag=True, help="Start it in a session of its own and return its name.")
def run(
    plan: Path, name: str | None, runs_dir: str | None, settings: tuple[str, ...], detach: bool, **crew: Any
) -> None:
    """Run the ten steps of PLAN in this process, or on several workers that share each optimizer step."""
    from tunebook.cli.quiet import quiet_libraries
    from tunebook.workflow.start import prepare_run, read_plan, start_detached

    planned = read_plan(plan, list(settings))
    quiet_libraries()
    from tunebook.workflow.launch import Crew, join, made_by_first

    asked = Crew(**crew)
    workers = join(asked)
    made = made_by_first(workers, lambda: prepare_run(planned, name, runs_folder(runs_dir)))
    if detach:
        start_detached(made, asked.words())
        click.echo(made.name)
        say(f"Watch it with `tunebook status {made.name}`; end it with `tunebook stop {made.name}`.")
        return
    _work(made, asked, workers)


@click.command()
@click.argument("run")
@runs_option
@crew_options
def resume(run: str, runs_dir: str | None, **crew: Any) -> None:
    """Go on with RUN from its newest good checkpoint, or from the start where there is none.

    It may go on with more or fewer workers than it had: they take the same examples.
    """
    from tunebook.runs.status import read_status
    from tunebook.workflow.launch import Crew, join

    found = open_run(run, runs_folder(runs_dir))
    if read_status(found).state == "finished":
        say(f"The run '{found.name}' is finished; there is nothing to go on with.")
        return
    _work(found, Crew(**crew), join(Crew(**crew)))


@click.command()
@click.argument("run")
@runs_option
@click.option("--discard", is_flag=True, help="Do not save the steps since the last checkpoint.")
def stop(run: str, runs_dir: str | None, discard: bool) -> None:
    """End RUN after the optimizer step under way, saved."""
    from tunebook.workflow.start import end_process

    found = open_run(run, runs_folder(runs_dir))
    if end_process(found, discard=discard):
        say(f"Asked '{found.name}' to stop after the optimizer step under way.")
    else:
        say(f"No process is working on '{found.name}'; there is nothing to stop.")


@click.command()
@click.option("--name", help="Name of the run [default: demo-1, demo-2, ...].")
@runs_option
@set_option
def demo(name: str | None, runs_dir: str | None, settings: tuple[str, ...]) -> None:
    """Do the whole job on the data that Tunebook ships, and say how much better the result is.

    Fine-tunes smollm2-135m on 190 short answers in a house style: plan, ten steps, report, export, deployment test.
    Takes minutes on two cores. Exit code 1 when the tuned model is not better than its base on held-out data.
    """
    from tunebook.cli.quiet import quiet_libraries
    from tunebook.runs.store import free_name
    from tunebook.workers.group import ALONE
    from tunebook.workflow.demo import demo_plan, judge_demo
    from tunebook.workflow.launch import Crew
    from tunebook.workflow.start import prepare_run

    quiet_libraries()
    runs = runs_folder(runs_dir)
    plan, texts = demo_plan([*DEMO_SETTINGS, *settings])
    made = prepare_run(plan, name or free_name("demo", runs), runs, texts)
    _work(made, Crew(), ALONE)
    click.echo(judge_demo(made))


def _work(run: Run, crew: Crew, workers: Workers) -> None:
    """Walk the run's steps with progress on the screen; of several workers, the first alone speaks."""
    from tunebook.cli.progress import watch
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    from tunebook.workflow.launch import work

    if not workers.first:
        work(run, crew, workers, [])
        return
    with watch(run) as watcher:
        work(run, crew, workers, [watcher])
    say(f"The run '{run.name}' is finished. Everything is in {run.folder}; the report is {run.folder / 'report.html'}.")
