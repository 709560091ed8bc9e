"""From the command line of a sweep to what varies, its folder's name and its exit status."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.commands import run_sweep as module
from twotower.commands.compose import compose
from twotower.commands.run_sweep import axes_of, exit_status_of, run_sweep, sweep_name
from twotower.config.errors import InputError
from twotower.experiments.launchers.local import Local
from twotower.experiments.runs.outcome import Outcome
from twotower.experiments.sweeps.axis import Axis
from twotower.experiments.sweeps.grid import Grid
from twotower.experiments.sweeps.sweep import Sweep, SweepContext

LOSS, DIM = Axis("loss", ("bce", "x")), Axis("embedding_dim", ("16", "32"))


def settings(seeds: int = 1, seed: int = 42) -> dict[str, Any]:
    return {"seeds": seeds, "seed": seed}


def test_axes_are_those_of_the_sweep_then_typed_ones_then_seeds() -> None:
    sweep = Grid.Config(vary={"embedding_dim": "16,32", "loss": "bce"})
    axes = axes_of(sweep, [], ["history.length=5,10", "++loss=a,b"], settings(3, 7))
    assert [(axis.key, axis.choices) for axis in axes] == [
        ("embedding_dim", ("16", "32")),
        ("loss", ("a", "b")),  # typed over the sweep's own
        ("history.length", ("5", "10")),
        ("seed", ("7", "8", "9")),
    ]


def test_one_seed_is_no_axis() -> None:
    assert axes_of(Grid.Config(), [], [], settings(1)) == ()
    assert axes_of(Grid.Config(), [], ["seed=1,2"], settings(1)) == (Axis("seed", ("1", "2")),)


def test_an_empty_axis_of_a_sweep_s_file_is_refused_with_its_key() -> None:
    with pytest.raises(InputError, match=r"^embedding_dim: an empty choice in ''"):
        axes_of(Grid.Config(vary={"embedding_dim": ""}), [], [], settings())


@pytest.mark.parametrize(
    ("fixed", "name"),
    [
        ([], "loss,dim"),
        (["seed=1"], "loss,dim,seed1"),
        (["sweep=mine"], "mine"),
        (["sweep=mine", "data=synthetic"], "mine,synthetic"),
        (["experiment=mine"], "loss,dim,mine"),
        (["data.path=hydra.csv"], "loss,dim,path=hydra.csv"),
    ],
)
def test_a_sweep_is_named_by_its_file_or_keys_and_fixed_overrides(fixed: list[str], name: str) -> None:
    assert sweep_name(fixed, [LOSS, DIM]) == f"{name}-sweep"


def test_sweeps_over_different_keys_have_different_names() -> None:
    keys = ["user_tower.dropout", "history.dropout", "features.item.item_id.dropout", "loss.temperature"]
    names = [sweep_name([], [Axis(key, ("0", "1"))]) for key in keys]
    assert names[:2] == ["dropout-sweep", "history-dropout-sweep"]
    assert len({*names}) == len(keys)


ELSEWHERE = [
    "name=x",
    "output_root=/tmp",
    "console=jsonl",
    "debug=true",
    "++reuse=false",
    "launcher=local",
    "launcher.num_workers=2",
    "retry_failed=true",
    "seeds=3",
    "sweep.num_trials=9",
]


@given(st.lists(st.sampled_from(ELSEWHERE), unique=True))
def test_the_launcher_is_not_part_of_the_name(texts: list[str]) -> None:
    assert sweep_name(["sweep=mine", *texts, "loss=bce"], []) == "mine,bce-sweep"


def outcome(status: str) -> Outcome:
    return Outcome(status, status, 1.0, {}, None, Path(status), None, False)


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["ok", "pruned"], 0),
        (["ok", "index_rejected", "ok"], 3),
        (["index_rejected", "failed"], 1),
        (["ok", "interrupted"], 1),
        (["ok", "a status of a later version"], 1),
        ([], 0),
    ],
)
def test_the_exit_status_is_the_worst_job_s(statuses: list[str], status: int) -> None:
    assert exit_status_of([outcome(each) for each in statuses]) == status


def test_a_key_that_is_typed_with_one_value_or_taken_away_does_not_vary() -> None:
    sweep = Grid.Config(vary={"embedding_dim": "16,32", "loss": "bce,x", "history.length": "5,10"})
    axes = axes_of(sweep, ["sweep=mine", "embedding_dim=24"], ["~sweep.vary.history.length"], settings())
    assert [axis.key for axis in axes] == ["loss"]


@pytest.mark.parametrize(
    ("swept", "seeds", "words"),
    [
        (["sweep=a,b"], 1, "sweep: cannot vary"),
        (["launcher=local,serial"], 1, "launcher: cannot vary"),
        (["seeds=2,3"], 1, "seeds: cannot vary"),
        (["output_root=a,b"], 1, "output_root: cannot vary"),
        (["sweep.vary.loss=x,y"], 1, "write loss=x,y"),
        (["~sweep.vary.los"], 1, "did you mean 'loss'"),
        (["seed=1,2"], 3, "seed: has several values, and seeds=3 sets others"),
    ],
)
def test_keys_that_cannot_vary_are_refused(swept: list[str], seeds: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        axes_of(Grid.Config(vary={"loss": "bce,x"}), [], swept, settings(seeds))


def test_keys_of_cases_cannot_be_typed() -> None:
    sweep = Grid.Config(cases=["index=flat_ip", "index=ivf_flat"])
    request = SweepContext(Path("x"), (), ("index=auto",), lambda texts: {}, False, "valid/recall_at_20")
    with pytest.raises(InputError, match="index: the cases of this sweep set it"):
        sweep.build(request)


class Late:
    """A launcher that does not know its workers before it runs, as Ray."""

    def __init__(self, config: Local.Config, task: str, folder: Path) -> None:
        self.config, self.runs = config, False

    def __enter__(self) -> "Late":
        self.runs = True
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""

    @property
    def num_workers(self) -> int:
        assert self.runs
        return 3


def test_a_launcher_is_asked_for_its_workers_only_when_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_jobs(sweep: Sweep, launcher: Late, _: Any) -> list[Outcome]:
        assert sweep.context.num_workers() == launcher.num_workers
        return []

    monkeypatch.setattr(Local.Config, "build", lambda *given: Late(*given))
    monkeypatch.setattr(module, "run_jobs", run_jobs)
    fixed = ["data=synthetic", "launcher=local", f"output_root={tmp_path}"]
    assert run_sweep("train", fixed, ["loss=bce,in_batch_softmax"], compose("train", fixed)) == 0
