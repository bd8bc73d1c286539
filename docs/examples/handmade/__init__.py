"""An entry outside the suite; docs/adding-a-framework.md walks through it."""
