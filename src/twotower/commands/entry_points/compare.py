"""Compare runs: one table with the settings that differ, and for each difference whether it is real.

  twotower compare outputs/default                   every run below a folder, against the best
  twotower compare outputs/a outputs/b 'outputs/c/*' runs, sweeps, folders above them, globs
  twotower compare outputs/default baseline=ease     against a built-in baseline
  twotower compare outputs/default by=configuration  one row for all seeds of a configuration
  twotower compare outputs/default html=report.html  a page with learning curves and plots
  twotower compare outputs/default metric=index/latency_ms_p50 csv=-

The best is chosen on the validation split and judged on the test split. "better" and "worse" mean: shown by
a paired test over the users, corrected for the number of comparisons.
"""


def answer(words: list[str]) -> int:
    """Print or write the comparison."""
    from twotower.commands.named_runs import resolve_paths
    from twotower.experiments.compare.command import run_command

    return run_command(resolve_paths(words), __doc__ or "")
