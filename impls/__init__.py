"""One folder a framework. A module here imports bench.task, bench.contract and its framework, nothing else of bench."""
