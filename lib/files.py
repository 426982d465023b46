"""Writing files so that a crash never leaves half of one."""

import contextlib
import json
import os


@contextlib.contextmanager
def replacing(path):
    """Yields the name of a temporary file beside ``path`` that becomes ``path`` at the end.

    The folder is made if need be. If the block raises, the temporary file is removed and
    whatever was at ``path`` stays as it was.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    os.makedirs(folder or '.', exist_ok=True)
    temporary = os.path.join(folder, f'.{name}.{os.getpid()}.tmp')
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def write_json(path, content):
    """Writes JSON for people to read; file names that are no text become JSON escapes."""
    with (replacing(path) as temporary,
          open(temporary, 'w', encoding='utf-8', errors='backslashreplace') as file):
        json.dump(content, file, indent=1, ensure_ascii=False)
