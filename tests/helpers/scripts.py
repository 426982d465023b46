"""Running the scripts as a user would."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_script(script, *arguments, cwd=None):
    """Runs a script such as ``train.py``, or a module such as ``data.draw_scenes``.

    Returns:
        subprocess.CompletedProcess: The finished process, with its output as text.
    """
    script = [os.path.join(ROOT, script)] if script.endswith('.py') else ['-m', script]
    return subprocess.run(
        [sys.executable, *script, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
        timeout=300,
    )


def run_python(code, *arguments):
    """Runs code in a new interpreter, from the root of the project."""
    return subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
