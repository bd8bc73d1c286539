"""The entries of keras; README.md beside this file says what was tried."""
