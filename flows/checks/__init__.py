"""Checks: suites as data in the JSON files here, run by run.py on what a day built."""
