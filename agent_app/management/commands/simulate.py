"""Lets scripted customers talk to a desk over its real doors, and says how reliably it does what they want.

Exit code 0: every run passed; 1: one did not; 2: nothing could be run (a wrong file, a desk that does not start).
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from agent_app import demo
from agent_app.simulation.books import Shop, ShopShut
from agent_app.simulation.desks import Desks, DoesNotStart
from agent_app.simulation.place import NotAScenario
from agent_app.simulation.play import Run, Stage, play
from agent_app.simulation.report import Result, summary
from agent_app.simulation.scenario import MODEL, OFFLINE, SHIPPED, Scenario, read_scenarios

FAILED, NOT_RUN = 1, 2


class Command(BaseCommand):
    help = (
        "Runs scripted customers against a desk of its own, or a running one. docs/simulation.md says how to add one."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--k", type=int, default=1, help="runs of each scenario; it passes if all of them do")
        parser.add_argument("--only", action="append", help="names of scenarios, * for any letters; may be repeated")
        parser.add_argument("--scenarios", type=Path, default=SHIPPED, help="a folder of them (default: the shop's)")
        parser.add_argument("--url", help="a running desk with the demo shop, whose made-up data is set back each run")
        parser.add_argument("--list", action="store_true", help="name the scenarios and run none")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        self.plain = not options["json"]
        if not 1 <= options["k"] <= 100:
            raise CommandError("--k is the number of runs: write 1 to 100.", returncode=NOT_RUN)
        try:
            scenarios = chosen(read_scenarios(options["scenarios"]), options["only"])
            if options["list"]:
                return self.name(scenarios)
            results, skipped = asyncio.run(self.run(scenarios, options["k"], options["url"]))
        except (NotAScenario, DoesNotStart, ShopShut, httpx.HTTPError) as error:
            raise CommandError(str(error) or type(error).__name__, returncode=NOT_RUN) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped.", returncode=130) from None
        self.tell(results, skipped, options["k"])

    def name(self, scenarios: Sequence[Scenario]) -> None:
        if not self.plain:
            rows = [{"name": each.name, "runs": each.runs, "goal": each.goal} for each in scenarios]
            self.stdout.write(json.dumps(rows))
            return
        for scenario in scenarios:
            self.stdout.write(f"{scenario.name:44}{'+'.join(scenario.runs):16}{scenario.goal}")

    # ---- running ----

    async def run(
        self, scenarios: Sequence[Scenario], k: int, url: str | None
    ) -> tuple[list[Result], list[tuple[Scenario, str]]]:
        results: list[Result] = []
        skipped: list[tuple[Scenario, str]] = []
        for mode in modes(url):
            of_mode = [scenario for scenario in scenarios if mode in scenario.runs]
            if url:
                left_out = "it breaks things, and runs on desks of its own alone"
                skipped += [(scenario, left_out) for scenario in of_mode if scenario.breaks_things]
                of_mode = [scenario for scenario in of_mode if not scenario.breaks_things]
            if not of_mode:
                continue
            async with stage_at(url, mode) as stage:
                for scenario in of_mode:
                    runs = [await run_once(scenario, stage) for _ in range(k)]
                    results.append(Result(scenario, mode, runs))
                    if self.plain:
                        for line in results[-1].lines():
                            self.stdout.write(line)
                        self.stdout.flush()
        ran = {result.scenario.name for result in results} | {scenario.name for scenario, _ in skipped}
        skipped += [(each, "it is for a model: set AGENT_MODEL") for each in scenarios if each.name not in ran]
        return results, skipped

    def tell(self, results: Sequence[Result], skipped: Sequence[tuple[Scenario, str]], k: int) -> None:
        figures = {mode: summary(results, mode, k) for mode in dict.fromkeys(result.mode for result in results)}
        if self.plain:
            for scenario, why in skipped:
                self.stdout.write(f"skip  {scenario.name}: {why}")
            for mode, figure in figures.items():
                hats = "  ".join(f"pass^{n} {value:.3f}" for n, value in figure["pass_hat"].items())
                self.stdout.write(f"{mode}: {figure['passed']} of {figure['scenarios']} scenarios, k={k}: {hats}")
        else:
            left_out = [{"name": scenario.name, "why": why} for scenario, why in skipped]
            whole = {"k": k, **figures, "results": [result.to_json() for result in results], "skipped": left_out}
            self.stdout.write(json.dumps(whole))
        if not results:
            raise CommandError("No scenario was run.", returncode=NOT_RUN)
        failed = sum(not result.passed for result in results)
        if failed:
            raise CommandError(f"{failed} of {len(results)} scenarios failed.", returncode=FAILED)


def chosen(scenarios: list[Scenario], only: list[str] | None) -> list[Scenario]:
    for wanted in only or ():
        if not any(fnmatch(scenario.name, wanted) for scenario in scenarios):
            raise NotAScenario(f"--only {wanted}: there is no such scenario; --list names them")
    return [each for each in scenarios if not only or any(fnmatch(each.name, wanted) for wanted in only)]


def modes(url: str | None) -> list[str]:
    """A running desk answers in one way, taken to be this process's own; desks of ours are started for both."""
    if url:
        return [MODEL if settings.AGENT_MODEL else OFFLINE]
    return [OFFLINE, MODEL] if settings.AGENT_MODEL else [OFFLINE]


@asynccontextmanager
async def stage_at(url: str | None, mode: str) -> AsyncIterator[Stage]:
    if url:
        url = url.rstrip("/")
        shop = Shop(url)
        await shop.books()  # before anything else: it says what is missing
        yield Stage([url], shop, settings.IDENTITY_SECRET or demo.identity_key(), mode)
        return
    with tempfile.TemporaryDirectory(prefix="simulate-") as folder:
        desks = Desks(Path(folder), settings.AGENT_MODEL if mode == MODEL else "")
        try:
            await desks.start()
            yield Stage([desks.shop.url], Shop(desks.shop.url), desks.identity_key, mode, desks)
        finally:
            await desks.stop()


async def run_once(scenario: Scenario, stage: Stage) -> Run:
    if scenario.breaks_things and stage.ours is not None:
        pair = await stage.ours.whole_pair()
        stage = replace(stage, desks=[desk.url for desk in pair])
    return await play(scenario, stage)
