"""Optuna's study of a sweep: where it is kept, and what it suggests next."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgernn.runtime.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from optuna import Study

TRIES: Final = 4
WAIT: Final = 0.5
"""Seconds."""


def sampler(study: Study, seed: int) -> Any:
    """Of the next suggestion, which follows from the seed and from what is finished, so that a
    sweep that was interrupted goes on as if it had not been. Of processes that share a study each
    sees how many others are at work."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    finished = (TrialState.COMPLETE, TrialState.PRUNED)
    done = len(study.get_trials(deepcopy=False, states=finished))
    running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    return TPESampler(seed=hash((seed, done, running)) % (1 << 32))


@contextmanager
def opened(
    out: Path,
    storage: str | None,
    name: str,
    resume: bool,
    higher: bool,
    described: dict[str, Any],
) -> Iterator[Study]:
    """The study: made, or gone on with if it is of the same search."""
    try:
        import optuna
        from optuna.storages import RDBStorage
        from optuna.trial import TrialState
    except ModuleNotFoundError:
        raise MissingExtraError(
            "a sweep needs Optuna; install it with: pip install 'edgernn[train]'"
        ) from None
    own = out / "study.db"
    if storage is None and own.exists() and not resume:
        raise InputError(
            f"{out} holds a sweep already; add --resume to go on with it, or choose another folder "
            "with --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            database = _database(RDBStorage, storage or f"sqlite:///{own.resolve()}")
            try:
                study = optuna.create_study(
                    storage=database,
                    study_name=name,
                    directions=["maximize" if higher else "minimize", "minimize"],
                    load_if_exists=True,
                )
                begun = study.user_attrs.get("described")
                if begun is None:
                    study.set_user_attr("described", described)
                elif begun != _plain(described):
                    wrong = sorted(k for k in begun if begun[k] != _plain(described).get(k))
                    raise InputError(
                        f"the study {name!r} is of other {', '.join(wrong)}; give what it was "
                        "begun with, or another --study"
                    )
                if storage is None:
                    # Nobody else has this file: what is running was killed.
                    for trial in study.get_trials(states=(TrialState.RUNNING,)):
                        study.tell(trial.number, state=TrialState.FAIL)
                yield study
            finally:
                database.remove_session()
                database.engine.dispose()
    finally:
        optuna.logging.set_verbosity(level)


def _database(make: Any, url: str) -> Any:
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    for attempt in range(TRIES):
        try:
            return make(url)
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            # Another process may be making the same tables.
            if attempt == TRIES - 1:
                raise _unreachable(url, error) from None
            time.sleep(WAIT)
        except Exception as error:
            # Whatever SQLAlchemy and its drivers say of a URL.
            raise _unreachable(url, error) from None
    return None


def _unreachable(url: str, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0]
    return InputError(
        f"cannot open the storage {url}: {reason}; write it as in sqlite:///study.db or "
        "postgresql://user@host/name"
    )


def _plain(value: dict[str, Any]) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value))
