"""Many runs: their folders and results, sweeps, launchers, and what compares and prints them."""
