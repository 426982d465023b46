"""The one exception that means: what the user gave is wrong."""


class InputError(Exception):
    """A file or flag that cannot be used.

    The message is one line that names the file or flag and says what to do. Scripts print
    it and exit with code 2.
    """
