"""The one way a verb fails."""


class CliError(Exception):
    """Refused or failed; the text is one line that says what and why."""
