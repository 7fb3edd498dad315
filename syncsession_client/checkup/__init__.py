"""Checking a database before sync is installed: which tables can take part, and what to look at.

`database` reads `facts` from the file and asks the rules: `refusals` rule a table out, `cautions`,
`references` (with `names`) and `firing` say what to look at. What they find (`findings`) is told to
people (`text`) and to programs. Nothing is written.
"""
