"""Where a run, a step, an evaluation, a data build and a start spend their time.

  python scripts/bench/profiles.py                     all of them, two minutes or so
  python scripts/bench/profiles.py run                 the whole default run by part; Lightning's share is one
  python scripts/bench/profiles.py step experiment=movielens_1m
  python scripts/bench/profiles.py evaluation build start      test split, baselines; from the source; imports

What follows the names are overrides of `scripts/train.py`. Prints a table each, and writes traces for
`chrome://tracing` or ui.perfetto.dev, and the figures, to `outputs/bench/profile_<name>.json`. (It is not
called profile.py: Python's own module of that name would then be missed by what is run beside it.)
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import record
from parts import Part, Parts

SUBJECTS = ("run", "step", "evaluation", "build", "start")
STEPS, WARM_UP = 20, 5
TRAINING = {
    "twotower.training.batches:TrainBatches._gather": "step: gather the batch",
    "twotower.training.batches:Order.epoch": "step: order of an epoch",
    "twotower.training.module:RetrievalModule.batch_loss": "step: loss, the rest of forward",
    "twotower.training.module:RetrievalModule.on_train_batch_start": "step: seeds",
    "twotower.training.module:RetrievalModule._log_step": "step: self.log",
    "twotower.negatives.sampler:NegativeSampler.forward": "step: candidates and masks",
    "twotower.towers.two_tower:TwoTower.encode_both": "towers: users, forward",
    "twotower.towers.two_tower:TwoTower._item_tower_output": "towers: items, forward",
    "twotower.losses.loss:Loss.batch_mean": "step: loss kernel, its gradients too",
    "torch:Tensor.backward": "step: backward",
    "torch.optim.adamw:AdamW.step": "step: optimizer",
    "torch.optim:Optimizer.zero_grad": "step: zero_grad",
    "torch.optim.lr_scheduler:LambdaLR.step": "step: schedule",
}
RUN = {
    "pytorch_lightning:Trainer.fit": "Lightning: all that is named nowhere else",
    "pytorch_lightning:Trainer.__init__": "Lightning: building a Trainer",
    "twotower.training.fit:Scalars.log_metrics": "TensorBoard: scalars",
    "twotower.training.fit:Scalars.save": "TensorBoard: flush",
    "twotower.training.callbacks.checkpointing:Checkpointing._save_last": "checkpoints: last.ckpt",
    "twotower.training.callbacks.checkpointing:Checkpointing.on_validation_end": "checkpoints: best.ckpt",
    "twotower.training.fit:write_checkpoint": "checkpoints: final.ckpt",
    "twotower.training.callbacks.epoch_loss:EpochLoss.on_train_batch_end": "callbacks: a step",
    "twotower.training.callbacks.divergence_guard:DivergenceGuard.on_train_batch_end": "callbacks: a step",
    "twotower.training.callbacks.epoch_lines:EpochLines.on_train_epoch_end": "callbacks: an epoch",
    "twotower.training.callbacks.rehearsal:Rehearsal.on_fit_start": "rehearsal",
    "twotower.training.validation:Validation.start": "validation: embed the catalogue",
    "twotower.training.validation:Validation.rank": "validation: rank",
    "twotower.training.validation:health": "validation: health figures",
    "twotower.training.validation:Validation.finish": "validation: metrics",
    "twotower.training.train_towers:build_module": "build: module",
    "twotower.training.train_towers:build_batches": "build: batches",
    "twotower.training.parts:fit_features": "build: features",
    "twotower.training.train_towers:evaluate_valid": "evaluation: valid",
    "twotower.pipeline.stages:write_bundle": "bundle",
    "twotower.pipeline.train_run:finish": "record, board and console at the end",
    "twotower.pipeline.train_run:index_model": "index: build, tune, check",
}
DATA = {
    "twotower.pipeline.stages:build_dataset": "data: all that is named nowhere else",
    "twotower.data.build_dataset:load_source": "data: tables checked, log in order",
    "twotower.data.build_dataset:stream_source": "data: tables checked, log in order",
    "twotower.data.build_dataset:split_interactions": "data: split",
    "twotower.data.build_dataset:write_dataset": "data: write the store",
    "twotower.data.build_dataset:open_dataset": "data: open the store",
    "twotower.data.build_dataset:cache_key": "data: fingerprint of the source",
    "twotower.data.build_dataset:audit": "data: audit",
}
EVALUATION = {
    "twotower.pipeline.train_run:evaluate_on_test": "evaluation: all that is named nowhere else",
    "twotower.evaluation.evaluate_towers:encode_catalogue": "evaluation: embed the catalogue",
    "twotower.evaluation.evaluate_towers:rank_all": "evaluation: embed users and rank",
    "twotower.evaluation.baselines.ease:Ease.fit": "baselines: fit EASE",
    "twotower.evaluation.baselines.run_baselines:_rank": "baselines: rank",
    "twotower.evaluation.evaluator:Evaluator.evaluate": "evaluation: metrics and slices",
    "twotower.evaluation.evaluator:mean_intervals": "evaluation: intervals",
    "twotower.pipeline.quality:run_all_baselines": "baselines: the rest",
}


def run_of(overrides: Sequence[str], watched: dict[str, str], root: Path) -> Parts:
    """Run `scripts/train.py` in this process, by part."""
    parts = Parts()
    with parts.part("start: imports of what trains"):
        import twotower.pipeline.train_run as pipeline
    from twotower.commands.compose import load_run_config

    with parts.part("start: compose and check"):
        config = load_run_config([f"output_root={root}", "console=quiet", *overrides])
    parts.watch(watched)
    with parts.part("the rest"):
        pipeline.train(config, root / "run")
    return parts


def steps_of(overrides: Sequence[str]) -> Parts:
    """Take steps of the first training without Lightning; torch's own trace of a few more has operators."""
    import torch

    from twotower.commands.compose import load_run_config
    from twotower.data.build_dataset import build_dataset
    from twotower.training.parts import build_batches, build_module

    config = load_run_config(overrides)
    with tempfile.TemporaryDirectory() as root:
        dataset = build_dataset(config.data.build(), config.split.build(), Path(root))
        batches = build_batches(config, dataset.train)
        module = build_module(config, dataset, dataset.train, len(batches), None)
        optimizer = module.optimizer_choice.optimizer(module.parameters())
        low = torch.autocast("cpu", torch.bfloat16) if "bf16" in config.trainer.precision else nullcontext()

        def steps(parts: Parts, number: int) -> None:
            done = 0
            while done < number:
                for batch in batches:
                    with parts.part("step: draws, and what is named nowhere else"):
                        module.on_train_batch_start(batch, 0)
                        with low:
                            loss = module.batch_loss(batch)
                        loss.backward()
                        optimizer.step()
                        optimizer.zero_grad()
                    done += 1
                    if done == number:
                        return

        steps(Parts(), WARM_UP)
        parts = Parts()
        parts.watch(
            {**TRAINING, f"{type(optimizer).__module__}:{type(optimizer).__name__}.step": "step: optimizer"}
        )
        steps(parts, STEPS)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            steps(Parts(), WARM_UP)
    operators = profiler.key_averages()
    print(operators.table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=44))
    profiler.export_chrome_trace(str(record.OUTPUTS / "profile_step_operators_trace.json"))
    return parts


def start_of(overrides: Sequence[str]) -> Parts:
    """Import what trains in a process of its own; which package takes how long, by `-X importtime`."""
    program = [sys.executable, "-X", "importtime", "-c", "import twotower.pipeline.train_run"]
    told = subprocess.run(program, capture_output=True, text=True, check=True).stderr
    parts, at = Parts(), 0.0
    for own, total, indent, name in re.findall(r"import time: +(\d+) \| +(\d+) \|( +)(\S+)", told):
        part = parts.parts.setdefault(f"import {name.partition('.')[0]}", Part())
        part.seconds += int(own) / 1e6
        part.calls += 1
        at += int(own)
        span = {
            "name": name,
            "ph": "X",
            "ts": at - int(total),
            "dur": int(total),
            "pid": 0,
            "tid": len(indent),
        }
        parts.spans.append(span)
    few = {name: part for name, part in parts.parts.items() if part.seconds > 0.01}
    few["import of all others"] = Part(
        sum(part.seconds for name, part in parts.parts.items() if name not in few), 0.0, 1
    )
    parts.parts = few
    return parts


def profile(name: str, overrides: Sequence[str]) -> None:
    """Profile one subject; print and write what was found."""
    if name == "step":
        parts = steps_of(overrides)
    elif name == "start":
        parts = start_of(overrides)
    else:
        watched: dict[str, dict[str, str]] = {
            "run": {**TRAINING, **RUN, **DATA, **EVALUATION},
            "evaluation": EVALUATION,
            "build": DATA,
        }
        short = [] if name == "run" else ["trainer.max_epochs=1", "trainer.refit=false"]
        with tempfile.TemporaryDirectory() as root:
            parts = run_of([*overrides, *short], watched[name], Path(root))
    print(f"\n{name} {' '.join(overrides)}\n{parts.table()}")
    parts.write_trace(record.OUTPUTS / f"profile_{name}_trace.json")
    figures: dict[str, Any] = {"overrides": list(overrides), "parts": parts.figures()}
    print(f"figures: {record.write(f'profile_{name}', figures)}")


def main(arguments: Sequence[str]) -> None:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return None
    record.OUTPUTS.mkdir(parents=True, exist_ok=True)
    names = [each for each in arguments if each in SUBJECTS]
    overrides = [each for each in arguments if each not in SUBJECTS]
    if len(names) == 1:
        return profile(names[0], overrides)
    for each in names or SUBJECTS:  # in a process each, since imports and patches stay
        subprocess.run([sys.executable, __file__, each, *overrides], check=True)
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
