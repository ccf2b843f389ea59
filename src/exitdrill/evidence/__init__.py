"""What proves a run: the journal, manifests, proofs about one object, and (to come) its seal."""
