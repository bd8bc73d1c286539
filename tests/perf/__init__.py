"""What measures speed: run by hand or by their own make targets, never asserted in `make test`."""
