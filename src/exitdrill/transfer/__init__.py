"""The data plane: inventory parts, copying with digests, resume, verification by merge join, the cut.

Everything here works on one run's directory (`exitdrill.transfer.layout`) and runs in worker processes
(`exitdrill.transfer.worker`), so that a leg can be killed at any moment and gone on with, and so that what
comes after the cut runs in a process that has never seen the source's credentials.
"""
