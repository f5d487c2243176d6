"""The figures of a simulation: how many scenarios pass when each is run k times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

from agent_app.simulation.play import Run
from agent_app.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Result:
    scenario: Scenario
    mode: str
    runs: Sequence[Run]

    @property
    def good(self) -> int:
        return sum(not run.problems for run in self.runs)

    @property
    def passed(self) -> bool:
        return self.good == len(self.runs)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.scenario.name,
            "mode": self.mode,
            "passed": self.passed,
            "good": self.good,
            "runs": [
                {
                    "passed": not run.problems,
                    "seconds": round(run.seconds, 2),
                    "problems": run.problems,
                    **({"transcript": run.transcript} if run.problems else {}),
                }
                for run in self.runs
            ],
        }

    def lines(self) -> Iterator[str]:
        seconds = sum(run.seconds for run in self.runs) / len(self.runs)
        mark = "pass" if self.passed else "FAIL"
        yield f"{mark}  {self.mode:8}{self.scenario.name:44}{self.good}/{len(self.runs)}{seconds:8.1f} s"
        if self.passed:
            return
        first = next(run for run in self.runs if run.problems)
        yield f"      {self.scenario.goal}"
        yield from (f"      - {problem}" for problem in first.problems)
        yield from (f"        | {line}" for line in first.transcript)


def pass_hat(results: Sequence[Result], k: int) -> float | None:
    """pass^k: the probability that k runs of a scenario all pass, in the mean over the scenarios.

    With n runs of which c were good the unbiased estimate is C(c, k) / C(n, k) (Yao et al., τ-bench, 2024). None
    without results.
    """
    if not results:
        return None
    return sum(comb(result.good, k) / comb(len(result.runs), k) for result in results) / len(results)


def summary(results: Sequence[Result], mode: str, k: int) -> dict[str, Any]:
    of_mode = [result for result in results if result.mode == mode]
    return {
        "scenarios": len(of_mode),
        "passed": sum(result.passed for result in of_mode),
        "pass_hat": {str(n): pass_hat(of_mode, n) for n in range(1, k + 1)},
    }
