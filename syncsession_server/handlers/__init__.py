"""One function per request: it validates, calls a rule or the store, and answers."""
