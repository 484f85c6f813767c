"""Running a study: the missing steps, in order, except those that depend on a step that failed."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from nonverbal.errors import UserError
from nonverbal.evaluation.studies import FILE, write_study
from nonverbal.evaluation.tables import show
from nonverbal.files import locked
from nonverbal.signals import Interrupted, name_of
from nonverbal.stages.studying.arguments import arguments
from nonverbal.stages.studying.commands import run_command, shown
from nonverbal.stages.studying.contents import VERSION, size_of
from nonverbal.stages.studying.costs import PRETRAIN, Costs
from nonverbal.stages.studying.kept import Begun, Done, Kept, State
from nonverbal.stages.studying.overview import summary, tables_of
from nonverbal.stages.studying.planning import Plan, Planned
from nonverbal.stages.studying.standing import command_of, record_of, rows_of, status_of
from nonverbal.text import one_line

REPORT = "report"
PAGE = "report.html"

PLAN_SECONDS = 20
"""Seconds for which ``nonverbal plan`` trains to estimate the cost of a pretraining."""


class StepFailed(Exception):
    """A step ended without its output; the message names its log."""


@dataclass(frozen=True)
class Running:
    """A study that is being run."""

    plan: Plan
    kept: Kept
    costs: Costs
    recipe: str
    """The text of the study's recipe, with bases resolved."""

    def run(self, only: Sequence[str], check: Callable[[list[Planned]], None]) -> None:
        """Run the missing steps, and write the record and the report.

        Args:
            only: names of steps, or ``report``: nothing else is run. Empty: all steps, and the report.
            check: refuses settings of steps that are unknown to their commands.

        Raises:
            UserError: a step failed; all steps that do not depend on it were run before. Or a step of ``only`` needs
                one that is not done.
            Interrupted: a signal came, which the current step received too.
        """
        wanted = self.wanted(only)
        if not wanted and REPORT not in only:
            raise UserError(f"there is nothing to run: all steps are left out, such as {_first_left_out(self.plan)}")
        check([step for step in wanted if status_of(self.plan, self.kept, step)[0] != "done"])
        if not only:
            with locked(self.kept.folder, "wait for it, or stop it; steps that are named by --only may run beside it"):
                self._run_all(wanted, only)
        else:
            self.kept.folder.mkdir(parents=True, exist_ok=True)
            self._refuse_waiting(wanted)
            self._run_all(wanted, only)

    def wanted(self, only: Sequence[str]) -> list[Planned]:
        """Return the steps to run, in order.

        Raises:
            UserError: a name stands for no step, or only for steps that are left out.
        """
        chosen = {step.name for name in only if name != REPORT for step in self.plan.named(name)}
        for name in only:
            own = [] if name == REPORT else self.plan.named(name)
            if own and all(step.why is not None for step in own):
                raise UserError(f"--only {name}: this step is left out: {own[0].why}")
        return [step for step in self.plan.steps if step.why is None and (not only or step.name in chosen)]

    def _refuse_waiting(self, wanted: list[Planned]) -> None:
        own = {step.name for step in wanted}
        for step in wanted:
            for name in step.needs:
                if name not in own and self.kept.key_if_done(self.plan, name) is None:
                    raise UserError(f"{step.name} needs {name}, which is not done; run it first: --only {name}")

    def _run_all(self, wanted: list[Planned], only: Sequence[str]) -> None:
        for step in wanted:
            self._plan_pretraining(step)
        names = {step.name for step in wanted}
        rows = rows_of(self.plan, self.kept, self.costs)
        show(tables_of(self.plan, [row for row in rows if not only or row.step.name in names]))
        failed, waiting = self._run_each(wanted)
        self._write_record()
        if not only or REPORT in only:
            try:
                self._write_page()
            except StepFailed as error:
                failed[REPORT] = str(error)
        if failed:
            raise UserError(self._account(failed, waiting))
        _say(summary(rows_of(self.plan, self.kept, self.costs)))

    def _run_each(self, wanted: list[Planned]) -> tuple[dict[str, str], list[str]]:
        """Run steps; return how some failed, by name, and which were not run because they need one of these."""
        failed: dict[str, str] = {}
        waiting: list[str] = []
        for step in wanted:
            if not {*failed, *waiting}.isdisjoint(step.needs):
                waiting.append(step.name)
                continue
            try:
                self._run_step(step)
            except StepFailed as error:
                failed[step.name] = str(error)
                _say(str(error))
        return failed, waiting

    def _account(self, failed: dict[str, str], waiting: list[str]) -> str:
        """Summarise in one line what failed."""
        what = f"{len(failed)} steps failed: {', '.join(failed)} (logs: {self.kept.log('*')})"
        told = what if len(failed) > 1 else next(iter(failed.values()))
        skipped = f"; not run, because they depend on it: {', '.join(waiting)}" if waiting else ""
        return f"{told}{skipped}; correct it, and run the same command again to continue"

    def _run_step(self, step: Planned) -> None:
        if self.kept.state(self.plan, step).done is not None:
            return
        with locked(self.kept.folder / "locks" / step.name, "wait for it, or stop it"):
            self.kept.forget()
            state = self.kept.state(self.plan, step)
            # Another process may have done it in the meantime.
            if state.done is None:
                self._run_held(step, state)
        self._write_record()

    def _run_held(self, step: Planned, state: State) -> None:
        if state.key is None:
            # Something that was done when the study started was changed or removed while it ran.
            waits = next(name for name in step.needs if self.kept.key_if_done(self.plan, name) is None)
            raise StepFailed(f"{step.name} needs {waits}, whose inputs or output changed during the run")
        if step.template.run == PRETRAIN:
            self._plan_pretraining(step)
        if state.past is not None:
            _say(f"{step.name} has changed: its earlier output is moved to {self.kept.past(step, state.past)}")
        begun = self.kept.begin(step, state)
        _say(shown(command_of(step)))
        begun, came = self._timed(step.name, command_of(step), begun)
        if not step.out.exists():
            self._fail(step.name, begun, f"ended without an error, but did not write {step.out}")
        done = self._done(begun, command_of(step), step.out)
        self.kept.finish(step.name, done)
        self.costs.keep(self.plan, step, done.seconds, done.bytes)
        self._end(came, f"interrupted after the step {step.name}")

    def _done(self, begun: Begun, command: list[str], out: Path) -> Done:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        took = round(begun.seconds, 3), size_of(out), self.costs.machine
        return Done(begun.key, VERSION, ["nonverbal", *command], *took, now)

    def _timed(self, name: str, command: list[str], begun: Begun) -> tuple[Begun, int]:
        """Run a step's command; return its record with the total duration so far, and the signal that came, if any."""
        started = time.monotonic()
        code, came = run_command(command, self.kept.log(name))
        begun = replace(begun, seconds=begun.seconds + time.monotonic() - started)
        self.kept.write_begun(name, begun)
        if code:
            self._end(came, f"interrupted in the step {name}")
            self._fail(name, begun, _ended(code))
        return begun, came

    def _end(self, came: int, where: str) -> None:
        """End the study if a signal came."""
        if came:
            self._write_record()
            raise Interrupted(came, f"{where}; run the same command again to continue")

    def _fail(self, name: str, begun: Begun, how: str) -> None:
        log = self.kept.log(name)
        self.kept.write_begun(name, replace(begun, failed=how))
        raise StepFailed(f"{name} {how}: {_last_line(log)} (log: {log})")

    def _plan_pretraining(self, step: Planned) -> None:
        """Have ``nonverbal plan`` estimate the cost of a pretraining whose data exist, unless the cost is known.

        If that fails, the cost stays unknown and the pretraining is run anyway: it will report the error itself.
        """
        state = self.kept.state(self.plan, step)
        if step.template.run != PRETRAIN or state.key is None or state.done is not None:
            return
        if self.costs.of(self.plan, step, state.key).seconds is not None:
            return
        file, log = self.costs.plan_file(step, state.key), self.kept.log(f"{step.name}.plan")
        if file in self.costs.unplanned:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        command = arguments("plan", step.recipe, {**step.settings, "seconds": PLAN_SECONDS, "json": str(file)})
        _say(shown(command))
        code, came = run_command(command, log)
        self._end(came, f"interrupted while planning {step.name}")
        if code:
            how = self.costs.unplanned[file] = f"nonverbal plan {_ended(code)}: {_last_line(log)} (log: {log})"
            _say(f"the time and disk of {step.name} are unknown: {how}")

    def _write_record(self) -> None:
        # Several processes that run steps of this study write it in turn.
        with locked(self.kept.folder / "locks" / ".record", wait=True):
            self.kept.forget()
            write_study(self.kept.folder, record_of(self.plan, self.kept, self.recipe))

    def _write_page(self) -> None:
        """Write the report of everything that exists, unless it is up to date."""
        page, study = self.kept.folder / PAGE, self.kept.folder / FILE
        key = hashlib.sha256(VERSION.encode() + study.read_bytes()).hexdigest()
        done = self.kept.done(REPORT)
        if done is not None and done.key == key and page.exists():
            return
        scored = [one for one in self.plan.corpora.values() if one.path is not None and one.corpus.use == "score"]
        data = [str(one.shards) for one in scored if (one.shards / "index.json").is_file()]
        settings = {"title": self.plan.study.title, "out": str(page)} | ({"data": data} if data else {})
        command = [REPORT, str(self.kept.folder), *arguments(REPORT, None, settings)[1:]]
        with locked(self.kept.folder / "locks" / REPORT, "wait for it, or stop it"):
            _say(shown(command))
            begun, _ = self._timed(REPORT, command, Begun(key))
            self.kept.finish(REPORT, self._done(begun, command, page))


def _first_left_out(plan: Plan) -> str:
    return next((f"{step.name}: {step.why}" for step in plan.steps), "none: the study has no steps")


def _ended(code: int) -> str:
    return f"failed (exit status {code})" if code > 0 else f"was ended by {name_of(-code)}"


def _last_line(log: Path) -> str:
    """Return the last line that a command wrote, which is its error message."""
    lines = log.read_bytes()[-10_000:].decode(errors="replace").splitlines()
    own = [line for line in lines if line.strip() and not line.startswith("== ")]
    return one_line(own[-1]).removeprefix("nonverbal: ") if own else "no output"


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)
