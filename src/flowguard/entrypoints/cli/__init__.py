"""The command line: `flowguard`. Each command imports what it runs, so that `--help` stays quick."""
