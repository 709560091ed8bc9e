import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS / "unit" / "bundle"), str(TESTS / "contract")]  # tiny_bundle, strangers
