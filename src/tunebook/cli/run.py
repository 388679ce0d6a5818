"""`tunebook run`, `resume`, `stop` and `demo`: start runs, go on with them, end them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunebook.cli.options import runs_option, say, set_option, worker_options
from tunebook.errors import RunError
from tunebook.runs.store import Run, open_run, runs_folder

if TYPE_CHECKING:
    from tunebook.workers.group import Workers
    from tunebook.workers.options import WorkerOptions

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
@worker_options
@click.option("--detach", is_flag=True, help="Start it in a session of its own and return its name.")
@click.option("--selftest-resume", is_flag=True, help="Do not run it: show that a killed run of it resumes exactly.")
def run(
    plan: Path,
    name: str | None,
    runs_dir: str | None,
    settings: tuple[str, ...],
    detach: bool,
    selftest_resume: bool,
    **options: Any,
) -> None:
    """Run the ten steps of PLAN in this process, or on several workers that share each optimizer step.

    With --selftest-resume, two short runs of it are made instead, on your model and your data: one straight, one killed
    and resumed. Exit code 1 when their weights, optimizer or metrics differ in one bit.
    """
    from tunebook.cli.quiet import quiet_libraries
    from tunebook.workflow.start import prepare_run, read_plan, start_detached

    planned = read_plan(plan, list(settings))
    quiet_libraries()
    if selftest_resume:
        from tunebook.workflow import selftest

        found = selftest.selftest_resume(planned, runs_folder(runs_dir), say)
        equal = " and ".join(f"{count} {what}" for what, count in found.items())
        click.echo(f"The killed and resumed run equals the straight one to the bit: {equal}.")
        return
    from tunebook.workers.options import WorkerOptions
    from tunebook.workflow.launch import join, made_by_first

    asked = WorkerOptions(**options)
    workers = join(asked)
    made = made_by_first(workers, lambda: prepare_run(planned, name, runs_folder(runs_dir), copies=asked.copies_here))
    if detach:
        start_detached(made, asked.arguments())
        click.echo(made.name)
        say(f"Watch it with `tunebook status {made.name}`; end it with `tunebook stop {made.name}`.")
        return
    _work(made, asked, workers)


@click.command()
@click.argument("run")
@runs_option
@set_option
@worker_options
@click.option("--as-planned", is_flag=True, help="Train on as the run was started, whatever its plan says now.")
@click.option("--new", metavar="NAME", help="Start a new run with the changed plan from the weights reached so far.")
def resume(
    run: str, runs_dir: str | None, settings: tuple[str, ...], as_planned: bool, new: str | None, **options: Any
) -> None:
    """Go on with RUN from its newest good checkpoint, or from the start where there is none.

    It may go on with more or fewer workers than it had: they take the same examples.

    A run cannot change learning rate, batch, epochs, seed or adapters on its way. Where --set or an edited plan.yaml
    asks for it, choose: --as-planned, or --new NAME. Other settings are taken from here on.
    """
    from tunebook.runs.status import read_status
    from tunebook.workers.options import WorkerOptions
    from tunebook.workflow.launch import join, made_by_first

    if as_planned and new:
        raise click.UsageError("--as-planned and --new exclude each other.")
    found = open_run(run, runs_folder(runs_dir))
    if new is None and read_status(found).state == "finished":
        say(f"The run '{found.name}' is finished; there is nothing to go on with.")
        return
    workers = join(WorkerOptions(**options))
    found = made_by_first(workers, lambda: _to_go_on_with(found, runs_folder(runs_dir), settings, as_planned, new))
    _work(found, WorkerOptions(**options), workers)


def _to_go_on_with(found: Run, runs: Path, settings: tuple[str, ...], as_planned: bool, new: str | None) -> Run:
    """The run itself, its plan settled, or a new one that begins with its weights.

    RunError when something is to be written into a run that another process works on.
    """
    from tunebook.plan.files import save_plan
    from tunebook.runs.lock import hold_lock
    from tunebook.workflow.inputs import as_started, refuse_changed
    from tunebook.workflow.start import read_plan

    plan = read_plan(found.folder / "plan.yaml", list(settings))
    if not as_planned and new is None:
        try:
            refuse_changed(found, plan)
        except RunError as error:
            if not sys.stdin.isatty():
                raise
            as_planned, new = _ask(error)
    if new:
        from tunebook.workflow.branch import branch_run

        return branch_run(found, plan, new, runs)
    if settings or as_planned:
        with hold_lock(found.folder) as dead:
            if dead:
                say(f"The lock of process {dead.pid} on {dead.host}, which is gone, was taken over.")
            save_plan(as_started(found, plan) if as_planned else plan, found.folder / "plan.yaml")
    return found


def _ask(error: RunError) -> tuple[bool, str | None]:
    """Which way to go on: (as planned, name of a new run)."""
    say(f"{error.what}")
    for fault in error.faults:
        say(f"  {fault}")
    ways = {
        "planned": "go on as it was started",
        "new": "a new run with the new values from the weights reached so far",
    }
    for way, words in ways.items():
        say(f"  {way:<8} {words}")
    if click.prompt("Which way?", type=click.Choice(list(ways)), err=True) == "planned":
        return True, None
    return False, click.prompt("Name of the new run", err=True)


@click.command()
@click.argument("run")
@runs_option
@click.option("--discard", is_flag=True, help="Do not save the steps since the last checkpoint.")
def stop(run: str, runs_dir: str | None, discard: bool) -> None:
    """End RUN after the optimizer step under way, saved."""
    from tunebook.runs.stop import ask_to_stop

    found = open_run(run, runs_folder(runs_dir))
    if ask_to_stop(found, discard=discard):
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
    from tunebook.workers.options import WorkerOptions
    from tunebook.workflow.demo import demo_plan, judge_demo
    from tunebook.workflow.start import prepare_run

    quiet_libraries()
    runs = runs_folder(runs_dir)
    plan, texts = demo_plan([*DEMO_SETTINGS, *settings])
    made = prepare_run(plan, name or free_name("demo", runs), runs, texts)
    _work(made, WorkerOptions(), ALONE)
    click.echo(judge_demo(made))


def _work(run: Run, options: WorkerOptions, workers: Workers) -> None:
    """Walk the run's steps with progress on the screen; of several workers, the first alone speaks."""
    from tunebook.cli.progress import watch
    from tunebook.cli.quiet import quiet_libraries

    quiet_libraries()
    from tunebook.workflow.launch import work

    if not workers.first:
        work(run, options, workers, [])
        return
    with watch(run) as watcher:
        work(run, options, workers, [watcher])
    say(f"The run '{run.name}' is finished. Everything is in {run.folder}; the report is {run.folder / 'report.html'}.")
