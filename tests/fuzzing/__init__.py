"""The differential fuzzer of capture: random SQL on a database with sync, and on a twin without.

`script` is what is run, `schemas` and `statements` make one up, `programs` run it, `differential`
compares what they see, `captured` checks what capture says, `minimal` makes a failing one short,
and `seeds` does it all.
"""
