"""One file a larger command of the command line: its flags, its wiring, its exit code. `bench.cli` registers them."""
