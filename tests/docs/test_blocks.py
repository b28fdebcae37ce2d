"""Every block of the documentation that shows use: Python runs, commands exist with their options."""

import io
import shlex
from contextlib import redirect_stdout
from dataclasses import fields, is_dataclass

import pytest
import typer
from blocks import ALL, ROOT, SHELLS, Block, commands, lay_out, names_for
from typer.testing import CliRunner

from gazehound.catalog import find
from gazehound.checkpoints.published.store import find_published
from gazehound.cli.app import app
from gazehound.training.recipe import Recipe

PYTHON = [block for block in ALL if block.language == "python"]
RUN = [block for block in PYTHON if not block.why_not]
LINES = [(block, line) for block in ALL if block.language in SHELLS for line in commands(block)]
TREE = typer.main.get_command(app)
NESTED = {f.name: f.default_factory for f in fields(Recipe) if is_dataclass(f.default_factory)}


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documentation")
    lay_out(folder)
    return folder


@pytest.fixture(scope="module")
def given(setting):
    return names_for(setting)


@pytest.mark.parametrize("page", sorted({block.page for block in RUN}))
def test_python_blocks_run(page, setting, given, monkeypatch):
    monkeypatch.chdir(setting)
    names = {**given}
    for block in (block for block in RUN if block.page == page):
        code = compile("\n" * (block.line - 1) + block.code, str(ROOT / page), "exec")
        with redirect_stdout(io.StringIO()):
            exec(code, names)


def test_blocks_that_are_not_run_are_few_and_say_why():
    left_out = {str(block): block.why_not for block in PYTHON if block.why_not}
    assert all(left_out.values())
    assert len(left_out) == NOT_RUN_COUNT, left_out
    assert len(RUN) >= 20


NOT_RUN_COUNT = 8  # a new one is a decision, not an accident


@pytest.mark.parametrize(
    ("block", "line"), LINES, ids=[f"{b}-{n}" for n, (b, _) in enumerate(LINES)]
)
def test_commands_exist_with_their_options(block, line):
    """Parsed by the command line itself, and not run."""
    name, values = parsed(line)
    model = values.get("model")
    if model and model.islower() and not {"/", ".", "@"} & set(model):
        assert find_published(model) or find(model), f"{block}: no model {model}"
    for setting in values.get("setting") or () if name != "tune" else ():
        table, _, rest = setting.partition("=")[0].partition(".")
        assert table in {f.name for f in fields(Recipe)}, f"{block}: no setting {table}"
        if table in NESTED:
            assert rest in {f.name for f in fields(NESTED[table])}, (
                f"{block}: no setting {table}.{rest}"
            )


def parsed(line: str) -> tuple[str, dict]:
    """Return the name of the last command of a line, and what its options and arguments came to."""
    words = [_plain(word) for word in shlex.split(line, comments=True)[1:]]
    command = TREE
    context = command.make_context("gazehound", words)
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, rest, parent=context)
    return context.info_name, context.params


def _plain(word: str) -> str:
    """Take the brackets of a synopsis away: [--score 0.25]."""
    if word.startswith("[-") or (word.endswith("]") and "=" not in word):
        return word.strip("[]")
    return word


def test_a_wrong_option_would_be_noticed():
    with pytest.raises(Exception, match="No such option"):
        parsed("gazehound train retinanet_r18 --data cells --epoch-count 3")
    with pytest.raises(Exception, match="No such command"):
        parsed("gazehound data cheque cells")


@pytest.mark.parametrize("block", [b for b in ALL if b.run], ids=str)
def test_marked_commands_run(block: Block, setting, monkeypatch):
    monkeypatch.chdir(setting)
    for line in commands(block):
        result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, f"{block}: {line}\n{result.output}"
