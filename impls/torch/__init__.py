"""The entries of torch; README.md beside this file says what was tried."""
