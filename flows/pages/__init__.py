"""The pages people open: read.py asks the warehouse what sql/ holds, verdict.py says what it comes
to, write.py renders the templates. All of it is read only, and none of it needs a network."""
