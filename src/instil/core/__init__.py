"""Values, errors, the recipe, the ledger, the run folder: what every other room may use."""
