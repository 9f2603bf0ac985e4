"""Speed measurements, as ratios within one run: `make bench-…`; results in RESULTS.md."""
