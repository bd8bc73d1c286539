"""The entries of tensorflow; README.md beside this file says what was tried."""
