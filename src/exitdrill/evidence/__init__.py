"""What proves a run: the journal, and (to come) its seal."""
