"""What a provider implements, and how it is found.

A connector imports from `connector`, `model`, `errors` and `clock` only. See ``docs/writing-a-connector.md``.
"""
