"""How a driver tells its worker that it left its work for another."""

INTERRUPTED = 75
"""EX_TEMPFAIL of <sysexits.h>: told to stop; nothing is lost."""
