"""The entries of sklearn; README.md beside this file says what was tried."""
