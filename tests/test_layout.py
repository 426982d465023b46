"""The rules for what imports what."""

import ast
import glob
import os
import re

from lib import VERSION
from tests.helpers.scripts import ROOT, run_python

# The packages and modules of lib, lowest first. Each may import from its own level and below.
LEVELS = [
    {'errors', 'chainer_compat', 'processes'},
    {'files', 'device'},
    {'cli'},
    {'captions'},
    {'features'},
    {'trained_model'},
    {'decoding'},
    {'captioner'},
    {'evaluation', 'serving'},
    {'training'},
]
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}


def trees_of(folder):
    """Returns the syntax trees of a folder's modules by their dotted names."""
    trees = {}
    for path in glob.glob(os.path.join(ROOT, folder, '**', '*.py'), recursive=True):
        name = os.path.relpath(path, ROOT).removesuffix('.py').replace(os.sep, '.')
        with open(path, encoding='utf-8') as file:
            trees[name.removesuffix('.__init__')] = ast.parse(file.read(), path)
    return trees


def imports_of(tree):
    """Returns the dotted names that a module imports, anywhere in its code.

    ``from lib import files`` and ``from lib.files.output import open_output`` count as
    ``lib.files`` and ``lib.files.output.open_output``.
    """
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'relative import'
            imported.update(f'{node.module}.{alias.name}' for alias in node.names)
    return imported


LIB, MODELS, DATA, BENCHMARKS = map(trees_of, ('lib', 'models', 'data', 'benchmarks'))
SCRIPTS = {path.removesuffix('.py') for path in os.listdir(ROOT) if path.endswith('.py')}

# Prints the modules that cannot be imported before all others. Importing a module imports its
# package first, and with it Chainer, which takes most of the time; so this is done once.
IMPORT_EACH = """
import importlib, os, sys
def import_in_fork(name):
    pid = os.fork()
    if not pid:
        importlib.import_module(name)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        print(name)
packages = ['lib', 'models']
for name in packages:
    import_in_fork(name)
for name in packages:
    importlib.import_module(name)
for name in sys.argv[1:]:
    import_in_fork(name)
"""


def test_every_module_can_be_imported_first():
    process = run_python(IMPORT_EACH, *LIB, *MODELS, forked=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout == '', process.stderr


def test_imports_point_from_scripts_to_lib_to_models():
    for name, tree in (LIB | MODELS | DATA | BENCHMARKS).items():
        imported = imports_of(tree)
        packages = {other.split('.')[0] for other in imported}
        of_lib = [other.split('.') for other in imported if other.startswith('lib.')]
        assert not packages & SCRIPTS, name
        for other in imported:
            if other.startswith(('lib.', 'models.')):
                # A module, or something in it.
                assert {other, other.rpartition('.')[0]} & {*LIB, *MODELS}, f'{name}: {other}'
        if name in LIB or name in MODELS:
            assert not packages & {'benchmarks', 'data', 'tests'}, name
        if name in MODELS:
            assert not packages & {'argparse', 'h5py', 'json', 'tqdm'}, name
            assert {module for _, module, *_ in of_lib} <= {'chainer_compat'}, name
        elif name in LIB and name != 'lib':
            level = LEVEL_OF[name.split('.')[1]]
            above = {module for _, module, *_ in of_lib if LEVEL_OF.get(module, 0) > level}
            assert not above, name


def test_only_scripts_and_modules_of_flags_know_argparse():
    for name, tree in (LIB | MODELS).items():
        if not name.startswith('lib.cli.') and not name.endswith('.flags'):
            # Names of variables, of parameters and keyword arguments, and of attributes.
            names = {
                getattr(node, attribute, None)
                for node in ast.walk(tree)
                for attribute in ('id', 'arg', 'attr')
            }
            assert 'args' not in names, name
            assert 'argparse' not in imports_of(tree), name


def test_version_is_the_same_everywhere():
    for name in 'pyproject.toml', 'CITATION.cff':
        with open(os.path.join(ROOT, name), encoding='utf-8') as file:
            assert re.search(r'^version\W+([0-9.]+)', file.read(), re.MULTILINE)[1] == VERSION
