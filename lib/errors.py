"""The exceptions and the warning that scripts print in one line."""


class InputError(Exception):
    """A file or an option that the user gave cannot be used.

    The message is one line that names what is wrong and says what to do. Scripts print it
    and exit with code 2.

    Args:
        message (str): What is wrong; begins with the file's name or the option's value.
        option (str): The keyword argument at fault, if it is one. Scripts print it as the
            flag of the same name: ``beam_width`` as ``--beam-width``.
    """

    def __init__(self, message, option=None):
        super().__init__(message)
        self.message = message
        self.option = option

    def __str__(self):
        return f'{self.option} {self.message}' if self.option else self.message


class DivergedError(InputError):
    """The loss or the weights are NaN or infinite; the message says which."""

    def __init__(self, what):
        super().__init__(
            f'{what}: the training diverged; try a lower learning rate or gradient clipping'
        )


class InputWarning(UserWarning):
    """Input that can be used but may not be what the user meant.

    Scripts print the message after ``note:``.
    """
