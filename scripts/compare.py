"""Compare runs: one table with the settings that differ, and for each difference whether it is real.

  python scripts/compare.py outputs/default                   every run below a folder, against the best
  python scripts/compare.py outputs/a outputs/b 'outputs/c/*' runs, sweeps, folders above them, globs
  python scripts/compare.py outputs/default baseline=ease     against a built-in baseline
  python scripts/compare.py outputs/default by=configuration  one row for all seeds of a configuration
  python scripts/compare.py outputs/default html=report.html  a page with learning curves and plots
  python scripts/compare.py outputs/default metric=index/latency_ms_p50 csv=-

The best is chosen on the validation split and judged on the test split. "better" and "worse" mean: shown by
a paired test over the users, corrected for the number of comparisons.
"""

import sys

from twotower.config.exits import exit_status
from twotower.reports.compare.command import run_command

if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(exit_status(lambda: run_command(words, __doc__ or ""), debug="debug=true" in words))
