"""How fast the house is, measured: `make bench-llm` and `make bench-gpu`; results in RESULTS.md."""
