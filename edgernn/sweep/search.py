"""The search: Optuna suggests, the device's budget prunes, what fits is trained.

Two objectives, the validation score and the flash, so that the search spreads along the front. A
network that is over the budget is not trained: its cost follows from its shape, and tells Optuna
how far it is over. What was trained is priced again, as it is. No training is cut short by what
larger networks had reached at that epoch: small ones, which the front needs, would go first;
--patience ends each by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgernn.budget.check import Verdict, check_model
from edgernn.budget.limits import Budget
from edgernn.placing import put_in_place
from edgernn.runtime.errors import InputError, UnsupportedError
from edgernn.sweep.result import Found, Result, front_of
from edgernn.sweep.space import Space, with_values
from edgernn.sweep.study import opened, sampler
from edgernn.training.base import Config, Dataset, Recipe
from edgernn.training.device_cost import Priced, priced, untrained
from edgernn.training.fit import Fitted, Hardware, fit
from edgernn.training.run_folder import as_json, digest
from edgernn.training.train import metrics_of, require_sound, write_finished

if TYPE_CHECKING:
    from optuna import Study, Trial

STUDY: Final = "edgernn"
BEST: Final = "best"
ATTEMPTS: Final = 20
"""Suggestions for each network that is to be trained, at most."""
LIMITED: Final = ("flash", "ram", "time", "load", "instructions")
Say = Callable[[str], None]
Key = tuple[str, int, int]


class Sweep:
    """One process of a search; several may share a study."""

    def __init__(
        self,
        recipe: Recipe,
        config: Config,
        source: str | None,
        space: Space,
        budget: Budget,
        out: Path,
        hardware: Hardware | None = None,
        say: Say = lambda _: None,
    ) -> None:
        self.recipe, self.config, self.source, self.space = recipe, config, source, space
        self.budget, self.out, self.hardware, self.say = budget, out, hardware, say
        self.headline, self.higher = recipe.ranked_by(config.options)
        self.dataset: Dataset = recipe.read(source, config.options, config.settings.seed)
        require_sound(self.dataset)
        self._costs: dict[Key, Priced | str] = {}
        self._baselines: dict[str, Any] | None = None

    def cost(self, config: Config) -> Priced | str:
        """A network of this shape before it is trained; or why it cannot be lowered."""
        layers = config.layers
        key = (layers.cell, layers.hidden, layers.layers)
        if key not in self._costs:
            try:
                self._costs[key] = untrained(self.recipe, config, self.dataset)
            except UnsupportedError as error:
                self._costs[key] = str(error)
        return self._costs[key]

    def check(self, network: Priced) -> Verdict:
        """Against the budget."""
        return check_model(network.model, network.steps, self.budget)

    def require_possible(self) -> None:
        """InputError if not even the smallest network of any cell fits."""
        least: list[tuple[float, str]] = []
        for cell in self.space.cells:
            values = {
                "cell": cell,
                "hidden": self.space.hidden[0],
                "layers": self.space.layers[0],
                "learning_rate": self.space.learning_rate[0],
                "dropout": self.space.dropout[0],
            }
            cost = self.cost(with_values(self.config, values))
            if isinstance(cost, str):
                raise InputError(f"{cell} cannot be an integer program: {cost}")
            verdict = self.check(cost)
            over = excess(verdict)
            if over <= 0:
                return
            lines = ", ".join(line.name for line in verdict.over)
            least.append((over, f"{cell}({values['hidden']}) is over in {lines}"))
        raise InputError(
            f"not even the smallest networks fit {self.budget.device.name}: {min(least)[1]} by "
            f"{100 * min(least)[0]:.0f} %; allow more, or search smaller ones with --hidden"
        )

    def run(self, study: Study, trials: int) -> None:
        """Suggest and train until the study has `trials` trained networks."""
        from optuna.trial import TrialState

        for _ in range(ATTEMPTS * trials):
            done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if len(done) >= trials:
                return
            study.sampler = sampler(study, self.config.settings.seed)
            trial = study.ask()
            try:
                values = self._try(trial)
            except BaseException:
                study.tell(trial, state=TrialState.FAIL)
                raise
            state = TrialState.PRUNED if values is None else TrialState.COMPLETE
            study.tell(trial, values, state)

    def _try(self, trial: Trial) -> tuple[float, float] | None:
        """Price and train one network: its score and its flash; None if it is not for the front."""
        values = self.space.suggest(trial)
        config = with_values(self.config, values)
        cost = self.cost(config)
        if isinstance(cost, str):
            self._left_out(trial, Found(trial.number, values, 0, 0, None, 1.0, 0, why=cost))
            return None
        found = self._found(trial, values, cost)
        if found.over > 0:
            self._left_out(trial, found)
            return None
        try:
            label = f"{found.name}, trial {trial.number}"
            fitted = fit(self.recipe, config, self.dataset, hardware=self.hardware, label=label)
            found = self._found(trial, values, priced(fitted.network, config, self.dataset))
        except (InputError, UnsupportedError) as error:
            # A learning rate may be too high for a network, its weights too large afterwards.
            self._left_out(trial, replace(found, why=str(error)))
            return None
        found = replace(found, best_epoch=fitted.best_epoch, minutes=fitted.seconds / 60)
        if found.over > 0:
            self._left_out(trial, replace(found, why=f"{found.why} once trained"))
            return None
        found = replace(found, scores=fitted.scores)
        trial.set_constraint("budget", found.over)
        trial.set_user_attr("found", found.as_json())
        score = fitted.scores["val"][self.headline]
        self.say(f"{found.name}: {self.headline} {score:.4f} on val, {found.flash / 1024:.1f} KiB")
        self._keep(found, config, fitted, trial.study)
        return score, float(found.flash)

    def _found(self, trial: Trial, values: dict[str, Any], network: Priced) -> Found:
        """A network with its price."""
        verdict = self.check(network)
        timed = any(line.name == "time" for line in verdict.lines)
        names = ", ".join(line.name for line in verdict.over)
        return Found(
            trial.number,
            values,
            flash=verdict.cost.flash,
            ram=round(verdict.value("ram")),
            seconds=verdict.value("time") if timed else None,
            over=excess(verdict),
            parameters=network.parameters,
            why=f"over in {names}" if names else "",
        )

    def _left_out(self, trial: Trial, found: Found) -> None:
        trial.set_user_attr("found", found.as_json())
        if found.over > 0:
            trial.set_constraint("budget", found.over)
        self.say(f"{found.name}: left out, {found.why}")

    def _keep(self, found: Found, config: Config, fitted: Fitted, study: Study) -> None:
        """Write the run folder of the best network so far."""
        result = self.result(study, found)
        if result.best.number != found.number:
            return
        if self._baselines is None:
            self._baselines = self.recipe.baselines(self.dataset)
        metrics = metrics_of(self.recipe, config, fitted, self._baselines)
        metrics["trial"] = found.number
        write_finished(
            self.out / BEST, self.recipe, config, self.dataset, self.source, fitted, metrics, {}
        )

    def result(self, study: Study, further: Found | None = None) -> Result:
        """All that the study knows."""
        records = [trial.user_attrs.get("found") for trial in study.get_trials(deepcopy=False)]
        found = [
            Found(**{k: v for k, v in record.items() if k != "name"})
            for record in records
            if record is not None
        ]
        if further is not None:
            found = [*(f for f in found if f.number != further.number), further]
        limits = {
            name: limit
            for name, limit in (
                ("flash_bytes", self.budget.flash),
                ("ram_bytes", self.budget.ram),
                ("seconds", self.budget.seconds),
                ("clock_hz", self.budget.clock_hz),
                ("instructions", self.budget.instructions),
                ("period_seconds", self.budget.period),
            )
            if limit is not None
        }
        return Result(
            self.recipe.name,
            self.dataset.name,
            self.headline,
            self.higher,
            self.budget.device.name,
            limits,
            self.space.as_json(),
            tuple(found),
            front_of(found, self.headline, self.higher),
        )


def excess(verdict: Verdict) -> float:
    """By what share of its limit the tightest line is over; below 0 it is what is left."""
    used = [line.used for line in verdict.lines if line.name in LIMITED and line.used is not None]
    return min(max(used, default=0.0), 1e6) - 1.0


def sweep(
    recipe: Recipe,
    config: Config,
    source: str | None,
    space: Space,
    budget: Budget,
    trials: int,
    out: Path,
    *,
    storage: str | None = None,
    name: str = STUDY,
    resume: bool = False,
    hardware: Hardware | None = None,
    say: Say = lambda _: None,
) -> Result:
    """Search until `trials` networks are trained, and write sweep.json, sweep.svg and the best
    network's run folder into `out`.

    storage: where Optuna keeps the study, a URL as SQLAlchemy reads it; processes on any machine
    that name the same one share the work, and each writes what all found. Default: a file in
    `out`, which only resume goes on with. InputError if nothing fits the budget, or for a study of
    something else.
    """
    from edgernn.sweep.picture import draw_sweep

    search = Sweep(recipe, config, source, space, budget, out, hardware, say)
    search.require_possible()
    described = config.as_json() | {
        "space": space.as_json(),
        "target": budget.device.name,
        "limits": [budget.flash, budget.ram, budget.seconds, budget.clock_hz],
        "sha256": digest(Path(source)) if source else None,
    }
    with opened(out, storage, name, resume, search.higher, described) as study:
        search.run(study, trials)
        result = search.result(study)
    if not result.front:
        reasons = [f.why for f in result.found if f.why]
        raise InputError(
            f"no network was trained in {len(result.found)} attempts; the last one: {reasons[-1]}"
        )
    draw_sweep(result, out / "sweep.svg")
    put_in_place(out, {"sweep.json": as_json(result.as_json())})
    return result
