"""For whoever writes a connector: the conformance suite, an in-memory place, hostile keys, a faulty network.

Shipped, so that a third party's connector is held to what ours are held to. `exitdrill.testing.conformance`
and the strategies of `exitdrill.testing.keys` need pytest and hypothesis; nothing else here does.
"""
