"""The rules for what imports what."""

import ast
import os
import re

import pytest

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


def module_names(package):
    """Returns the dotted names of all modules of a package and its subpackages."""
    names = []
    for folder, _, files in os.walk(os.path.join(ROOT, package)):
        parent = os.path.relpath(folder, ROOT).replace(os.sep, '.')
        names += [
            parent if file == '__init__.py' else f'{parent}.{file.removesuffix(".py")}'
            for file in files
            if file.endswith('.py')
        ]
    return sorted(names)


def parse(name):
    """Returns the syntax tree of a module."""
    path = os.path.join(ROOT, *name.split('.'))
    path = os.path.join(path, '__init__.py') if os.path.isdir(path) else f'{path}.py'
    with open(path, encoding='utf-8') as file:
        return ast.parse(file.read(), path)


def imports_of(name):
    """Returns the dotted names that a module imports, anywhere in its code.

    ``from lib import files`` and ``from lib.files.output import open_output`` count as
    ``lib.files`` and ``lib.files.output.open_output``.
    """
    imported = set()
    for node in ast.walk(parse(name)):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{name} has a relative import'
            imported.update(f'{node.module}.{alias.name}' for alias in node.names)
    return imported


LIB, MODELS = module_names('lib'), module_names('models')
SCRIPTS = {file.removesuffix('.py') for file in os.listdir(ROOT) if file.endswith('.py')}

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
    process = run_python(IMPORT_EACH, *LIB, *MODELS)
    assert process.returncode == 0, process.stderr
    assert process.stdout == '', process.stderr


@pytest.mark.parametrize('name', MODELS)
def test_models_import_only_chainer_compat_of_lib(name):
    imported = {imported for imported in imports_of(name) if imported.split('.')[0] == 'lib'}
    assert imported <= {'lib.chainer_compat'}


@pytest.mark.parametrize('name', [*LIB, *MODELS])
def test_nothing_imports_scripts_benchmarks_data_or_tests(name):
    packages = {imported.split('.')[0] for imported in imports_of(name)}
    assert not packages & {*SCRIPTS, 'benchmarks', 'data', 'tests'}


@pytest.mark.parametrize('name', LIB)
def test_only_flags_and_command_line_know_argparse(name):
    if name.startswith('lib.cli.') or name.endswith('.flags'):
        return
    # Names of variables, of parameters and keyword arguments, and of attributes.
    names = {
        getattr(node, attribute, None)
        for node in ast.walk(parse(name))
        for attribute in ('id', 'arg', 'attr')
    }
    assert 'args' not in names
    assert 'argparse' not in {imported.split('.')[0] for imported in imports_of(name)}


@pytest.mark.parametrize('name', [name for name in LIB if name != 'lib'])
def test_lib_imports_only_what_is_below_or_beside(name):
    level = LEVEL_OF[name.split('.')[1]]
    parts = (imported.split('.') for imported in imports_of(name))
    above = ['.'.join(part) for part in parts if part[0] == 'lib' and LEVEL_OF[part[1]] > level]
    assert not above


def test_version_is_the_same_everywhere():
    for name in 'pyproject.toml', 'CITATION.cff':
        with open(os.path.join(ROOT, name), encoding='utf-8') as file:
            assert re.search(r'^version\W+([0-9.]+)', file.read(), re.MULTILINE)[1] == VERSION
