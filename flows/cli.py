"""`daybook`: the command lines of the modules below as one command, from any folder."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from importlib import import_module

from loaders.errors import UsageError, guarded, guess

# Command → its module, which has main(arguments, prog), and its line in the help.
COMMANDS = {
    "run": ("flows.day", "run one day through the whole flow"),
    "backfill": ("flows.backfill", "run several days, in order"),
    "plan": ("flows.plan", "show what a run would do; writes nothing"),
    "status": ("flows.status", "show which days are done, incomplete, missing or failed"),
    "late": ("flows.late", "fail when a day has not come by its hour, for a schedule"),
    "explain": ("flows.explain", "tell one record's whole story"),
    "land": ("loaders.__main__", "land a day's files, without the flow"),
    "new": ("loaders.scaffold", "make what a new entity needs, from a sample of its files"),
    "export": ("loaders.export", "write a table as .xlsx, .csv or .parquet"),
    "forget": ("flows.forget", "erase a person from all that is kept and whatever lands later"),
    "prove": ("flows.prove", "rebuild all days apart and compare"),
    "backup": ("loaders.backup", "save the whole warehouse as one file"),
    "restore": ("loaders.restore", "put back what backup saved"),
    "site": ("flows.site", "write all pages anew"),
    "psql": ("flows.psql", "open a prompt in the warehouse"),
    "warehouse": ("loaders.warehouse", "start, stop, status, uri or migrate"),
    "doctor": ("flows.doctor", "check that this machine and the warehouse are in order"),
}
HELP = {"-h", "--help", "help"}
SHELLS = {"bash": "", "zsh": "autoload -U +X bashcompinit && bashcompinit\n"}
USAGE = """usage: daybook COMMAND …, and daybook COMMAND --help for its options

{}
  completion  for a shell: eval "$(daybook completion bash)", or zsh

exit codes: 0 done, 1 data or run failure, 2 usage, 3 locked by another run
"""
COMPLETE = """_daybook() {{
    local words
    case "${{COMP_WORDS[1]}}" in
{}
    *) words="" ;;
    esac
    if [ "$COMP_CWORD" = 1 ]; then words="{} completion"; fi
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _daybook daybook
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code (0 done, 1 failed, 2 usage, 3 locked)."""
    return guarded(lambda: _main((sys.argv[1:] if arguments is None else arguments) or [""]))


def _main(line: list[str]) -> int:
    command, *rest = line
    if command in COMMANDS:
        return import_module(COMMANDS[command][0]).main(rest, f"daybook {command}") or 0
    if command == "completion" and len(rest) == 1 and rest[0] in SHELLS:
        print(SHELLS[rest[0]] + completion(), end="")
        return 0
    listed = "\n".join(f"  {name:10}  {purpose}" for name, (_, purpose) in COMMANDS.items())
    if command in ("", *HELP) or (command == "completion" and HELP & {*rest}):
        print(USAGE.format(listed), end="")
        return 0 if command else 2
    if command == "completion":
        raise UsageError("daybook completion bash, or zsh.")
    raise UsageError(f"no such command.{guess(command, COMMANDS)} See daybook --help.")


def completion() -> str:
    """The completion script: all commands, and each one's options as its help lists them."""
    cases = "\n".join(f'    {name}) words="{" ".join(_words_of(name))}" ;;' for name in COMMANDS)
    return COMPLETE.format(cases, " ".join(COMMANDS))


def _words_of(command: str) -> list[str]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([command, "--help"])
    choices = ",".join(re.findall(r"\{([a-z,_]+)\}", output.getvalue())).split(",")
    options = re.findall(r"--[a-z][a-z-]*", output.getvalue())
    return sorted({word for word in [*options, *choices] if word})


if __name__ == "__main__":
    sys.exit(main())
