"""The entries of jax; README.md beside this file says what was tried."""
