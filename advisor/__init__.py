"""The advisor: decides and talks. `knowledge` is what it knows, `backends` what it can do."""
