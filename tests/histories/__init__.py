"""Histories of many devices that sync at once, and what has to be true of them.

`device` is what each process runs: it edits, syncs, looks, and writes down what it did and saw, in
the terms of `records`. `launch` starts the processes, and `run` the launcher. `checker` reads what
all of them wrote down, and says what is wrong with it: `sessions` finds what was pushed, `replay`
looks at one device after the other, `order` at whether one order of all sessions explains what
everyone saw.
"""
