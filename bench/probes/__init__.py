"""One file a sensor: what the machine, the process and the code are, each figure with a reason where it is missing."""
