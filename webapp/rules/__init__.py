"""Pure rules: texts, numbers, times, outcomes. No Flask, no SQLAlchemy, no HTTP."""
