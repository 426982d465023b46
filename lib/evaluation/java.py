"""The Java programs of ``pycocoevalcap``: the Penn Treebank tokenizer and METEOR.

They are started here, since its own calls write into the package's folder, which may be read-only,
and read numbers in the user's locale.
"""

import os
import shutil
import subprocess
import threading

from lib.errors import InputError

# Numbers with a point, whatever the user's locale.
COMMAND = 'java', '-Duser.language=en', '-Duser.country=US', '-Dfile.encoding=UTF-8'


def has_java() -> bool:
    """Returns whether there is a ``java`` that works; that of macOS may be there and not work."""
    if shutil.which('java') is None:
        return False
    return subprocess.run(['java', '-version'], capture_output=True, check=False).returncode == 0


def tokenize_treebank(captions: list[str]) -> list[str]:
    """Tokenizes captions as COCO's server does: lower case, without punctuation.

    Args:
        captions (list of str): Each a single line.

    Returns:
        list of str: Their tokens, with spaces between them.

    Raises:
        InputError: If Java fails.
    """
    from pycocoevalcap.tokenizer import ptbtokenizer

    jar = os.path.join(
        os.path.dirname(ptbtokenizer.__file__), ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR
    )
    program = 'edu.stanford.nlp.process.PTBTokenizer', '-preserveLines', '-lowerCase'
    content = '\n'.join(captions).encode() + b'\n'
    process = subprocess.run(
        [*COMMAND, '-cp', jar, *program], input=content, capture_output=True, check=False
    )
    *lines, _ = process.stdout.decode(errors='replace').split('\n')
    if process.returncode or len(lines) != len(captions):
        raise InputError(
            f'java: the Penn Treebank tokenizer failed with exit code {process.returncode}; repair '
            'Java, or hide it from PATH to score without it'
        )
    punctuation = {*ptbtokenizer.PUNCTUATIONS}
    return [
        ' '.join(token for token in line.rstrip().split(' ') if token not in punctuation)
        for line in lines
    ]


def compute_meteor(references: dict, candidates: dict) -> tuple[float, list[float]]:
    """Computes METEOR.

    Args:
        references, candidates (dict): Tokenized captions, as pycocoevalcap takes them.

    Returns:
        tuple: The score of all candidates together, and that of each.

    Raises:
        InputError: If Java fails.
    """
    from pycocoevalcap.meteor import meteor

    class Meteor(meteor.Meteor):
        def __init__(self, process):
            self.meteor_p = process
            self.lock = threading.Lock()

        def __del__(self):
            """Does nothing: the process has ended, and after an error the lock is locked."""

    arguments = '-Xmx2G', '-jar', meteor.METEOR_JAR, '-', '-', '-stdio', '-l', 'en', '-norm'
    try:
        with subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=os.path.dirname(meteor.__file__),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                return Meteor(process).compute_score(references, candidates)
            finally:
                process.kill()
    except (ValueError, OSError) as error:
        raise InputError("METEOR's Java program failed") from error
