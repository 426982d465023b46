"""A decoded caption."""

from dataclasses import dataclass

from lib.captions.vocabulary import EOS


@dataclass(frozen=True)
class Caption:
    """A caption that a model generated.

    Attributes:
        tokens (list of int): Its tokens, without ``<S>`` and ``</S>``.
        log_prob (float): Log-probability, in nats, that the model gives to its tokens and,
            if it ended within the maximum length, ``</S>``.
        text (str): The caption as text; None until a vocabulary has decoded the tokens.
    """

    tokens: list[int]
    log_prob: float
    text: str | None = None

    def to_json(self) -> dict:
        """Returns what result files contain of it."""
        return {'caption': self.text, 'log_prob': self.log_prob}


def until_eos(tokens: list[int]) -> list[int]:
    """Returns the tokens before the first ``</S>``."""
    return tokens[: tokens.index(EOS)] if EOS in tokens else tokens
