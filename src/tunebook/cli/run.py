"""`tunebook run`, `resume`, `stop` and `demo`: start runs, go on with them, end them."""

from __future__ import annotations

from pathlib import Path

import click

from tunebook.cli.options import runs_option, say, set_option
from tunebook.runs.store import Run, open_run, runs_folder

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
@click.option("--detach", is_flag=True, help="Start it in a session of its own and return its name.")
def run(plan: Path, name: str | None, runs_dir: str | None, settings: tuple[str, ...], detach: bool) -> None:
    """Run the ten steps of PLAN in this process."""
    from tunebook.cli.quiet import quiet_libraries
    from tunebook.workflow.start import prepare_run, read_plan, start_detached

    planned = read_plan(plan, list(settings))
    quiet_libraries()
    made = prepare_run(planned, name, runs_folder(runs_dir))
    if detach:
        start_detached(made)
        click.echo(made.name)
        say(f"Watch it with `tunebook status {made.name}`; end it with `tunebook stop {made.name}`.")
        return
    _work(made)


@click.command()
@click.argument("run")
@runs_option
def resume(run: str, runs_dir: str | None) -> None:
    """Go on with RUN from its newest good checkpoint, or from the start where there is none."""
    from tunebook.runs.status import read_status

    found = open_run(run, runs_folder(runs_dir))
    if read_status(found).state == "finished":
        say(f"The run '{found.name}' is finished; there is nothing to go on with.")
        return
    _work(found)


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
    from tunebook.workflow.demo import demo_plan, judge_demo
    from tunebook.workflow.start import prepare_run

    quiet_libraries()
    runs = runs_folder(runs_dir)
    plan, texts = demo_plan([*DEMO_SETTINGS, *settings])
    made = prepare_run(plan, name or free_name("demo", runs), runs, texts)
    _work(made)
    click.echo(judge_demo(made))


def _work(run: Run) -> None:
    """Walk the run's steps with progress on the screen."""
    from tunebook.cli.progress import watch
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    with watch(run) as watcher:
        from tunebook.workflow.runner import run_steps

        run_steps(run, [watcher])
    say(f"The run '{run.name}' is finished. Everything is in {run.folder}; the report is {run.folder / 'report.html'}.")
