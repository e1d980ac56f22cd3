"""The `corella` command. Modules import what is slow only when a command runs, so that `corella --help` stays quick."""
