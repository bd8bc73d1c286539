"""The entries of numpy; README.md beside this file says what was tried."""
