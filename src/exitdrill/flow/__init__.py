"""Prefect: its server, the conductor that runs tasks through it, the drill as a flow, schedules.

The only importer of Prefect. Importing Prefect takes seconds and reads its settings from the environment, so
nothing here imports it but `exitdrill.flow.conductor`, `exitdrill.flow.drill` and, when called,
`exitdrill.flow.deploy`: start a `exitdrill.flow.server.PrefectServer` and `connect` to it first.
"""
