"""The convergence machine: devices of one tenant, and a server, that edit, sync, fail and die in
any order, and a model that says after every step whether anything was lost.

`tables` is the schema and what a database holds, in terms that mean the same everywhere, and `logs`
what is written down beside it; `edits` are what programs do; `model` is the rule book, with no I/O,
`devices` its page on what a device has, `decisions` that on policies, `rules` on references,
`uniques` on values that only one row may have; `forks` starts processes that can be
killed; `world` is the server, the network and the devices; `machine` has the steps, and `seeds`
runs it.
"""
