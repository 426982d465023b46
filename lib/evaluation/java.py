"""The Java programs of ``pycocoevalcap``: the Penn Treebank tokenizer and METEOR.

Its own calls write into the package's folder, which may be read-only, read numbers in the user's
locale, and wait for ever if Java does.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading

# Numbers with a point, whatever the user's locale.
OPTIONS = '-Duser.language=en', '-Duser.country=US', '-Dfile.encoding=UTF-8'
ENVIRONMENT = {'LC_ALL': 'C'}
# Seconds to answer "java -version"; to start a program; and for each caption, some fifty times
# what a caption takes.
VERSION_TIME = 30
START_TIME = 300
CAPTION_TIME = 0.1


class JavaError(Exception):
    """A Java program failed; the message says why."""


def has_java() -> bool:
    """Returns whether there is a ``java`` that answers."""
    path = shutil.which('java')
    if path is None:
        return False
    try:
        version = subprocess.run(
            [path, '-version'],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=VERSION_TIME,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return version.returncode == 0


def tokenize_treebank(captions: list[str]) -> list[str]:
    """Tokenizes captions as COCO's server does: lower case, without punctuation.

    Args:
        captions (list of str): Each a single line.

    Returns:
        list of str: Their tokens, with spaces between them.

    Raises:
        JavaError: If the tokenizer fails or takes too long.
    """
    from pycocoevalcap.tokenizer import ptbtokenizer

    with _run_java(
        'the Penn Treebank tokenizer',
        len(captions),
        ptbtokenizer.__file__,
        '-cp',
        ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR,
        'edu.stanford.nlp.process.PTBTokenizer',
        '-preserveLines',
        '-lowerCase',
    ) as process:
        output, _ = process.communicate('\n'.join(captions).encode() + b'\n')
        *lines, _ = output.decode().split('\n')
        if process.returncode or len(lines) != len(captions):
            raise ValueError('it has not tokenized all captions')
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
        JavaError: If the program fails or takes too long.
    """
    from pycocoevalcap.meteor import meteor

    class Meteor(meteor.Meteor):
        def __init__(self, process):
            self.meteor_p = process
            self.lock = threading.Lock()

        def __del__(self):
            """Does nothing: the process has ended, and after an error the lock is locked."""

    arguments = '-Xmx2G', '-jar', meteor.METEOR_JAR, '-', '-', '-stdio', '-l', 'en', '-norm'
    with _run_java('METEOR', len(candidates), meteor.__file__, *arguments) as process:
        return Meteor(process).compute_score(references, candidates)


@contextlib.contextmanager
def _run_java(name, n_captions, module, *arguments):
    """Yields a process of Java in a module's folder, and ends it.

    Args:
        name (str): What the program is called in an error message.
        n_captions (int): How many captions it has time for.
        module (str): The path of the module whose folder contains the program.
        arguments (str): Those of Java.

    Raises:
        JavaError: For a ``ValueError`` or ``OSError`` in the block.
    """
    seconds = START_TIME + CAPTION_TIME * n_captions
    with tempfile.TemporaryFile() as messages:
        try:
            process = subprocess.Popen(
                ['java', *OPTIONS, *arguments],
                cwd=os.path.dirname(module),
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                start_new_session=True,  # so that what it starts ends with it
            )
        except OSError as error:
            raise JavaError(f'{name} failed ({error.strerror})') from error
        timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            yield process
        except (ValueError, OSError) as error:
            reason = f'took longer than {seconds:.0f} s'
            if not timer.finished.is_set():
                reason = f'failed ({_reason(process, messages) or error})'
            raise JavaError(f'{name} {reason}') from error
        finally:
            timer.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in process.stdin, process.stdout:
                with contextlib.suppress(OSError):
                    pipe.close()


def _reason(process, messages):
    """Returns the line of Java's messages that says best why it has ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    messages.seek(0)
    lines = [line.strip() for line in messages.read().decode(errors='replace').split('\n')]
    errors = [line for line in lines if 'Exception' in line or 'Error' in line]
    code = f'exit code {process.returncode}' if process.returncode else ''
    return (errors or [*filter(None, lines)][-1:] or [code])[0]
