"""What is written is what is there: commands, options, links, reference pages, examples."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from nnseg_core import hookspecs, kinds
from nnseg_core.cli import make_app
from nnseg_core.cli.options import parse_settings
from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.kinds import KINDS
from nnseg_core.plan import Configuration
from nnseg_core.plugins import load_plugins, parameters
from nnseg_core.project import PARTS, facts_of

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
REFERENCE = ROOT / "docs" / "reference"
PLUGINS = load_plugins()
APP = typer.main.get_command(make_app(PLUGINS))

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

INSTALL = "python -m pip install -c constraints.txt -e . && nnseg demo\n"
TEST = "python -m pip install -c constraints.txt -e '.[dev]' && python -m pytest\n"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [code for name, code in FENCE.findall(page.read_text("utf-8")) if name == language]


def commands(page: Path) -> Iterator[list[str]]:
    """Every ``nnseg`` command of a page as its arguments: in blocks, indented, and in prose."""
    text = page.read_text("utf-8")
    lines = [line for _, code in FENCE.findall(text) for line in code.splitlines()]
    lines += re.findall(r"^    (nnseg .+)$", text, re.MULTILINE) if page.name != "cli.md" else []
    lines += INLINE.findall(FENCE.sub("", text))
    for line in lines:
        for part in line.split(" && "):
            if part.strip().startswith("nnseg ") and "COMMAND" not in part:
                yield shlex.split(part, comments=True)[1:]


def lone_options(page: Path) -> Iterator[list[str]]:
    """Options quoted in prose and tables without their command, such as ``--memory 16GB``."""
    for cell in re.findall(r"^\| [^|]+ \| (.+) \|$", page.read_text("utf-8"), re.MULTILINE):
        yield from (shlex.split(code) for code in INLINE.findall(cell) if code.startswith("--"))


def parse(arguments: list[str]) -> dict[str, object]:
    """Parse a command line as the program would. Raises what it would raise."""
    if len(arguments) == 1:  # named in prose, without its arguments
        assert arguments[0] in (*APP.commands, "--help")  # type: ignore[attr-defined]
        return {}
    with APP.make_context("nnseg", list(arguments), obj=PLUGINS) as context:
        name, command, rest = APP.resolve_command(context, arguments)  # type: ignore[attr-defined]
        with command.make_context(name, rest, parent=context) as inner:
            return dict(inner.params)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown renderers make them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(FENCE.sub("", page.read_text("utf-8")))
    }


def known_options(part: str) -> set[str]:
    """The options of all parts of a kind, whichever a command may have chosen."""
    kind = next(kind for kind in KINDS if kind.name == part)
    return {name for c in PLUGINS.of_kind(kind).values() for name in parameters(c.factory)}


def named(pages: list[Path]) -> pytest.MarkDecorator:
    """One test for each page, by its path."""
    return pytest.mark.parametrize(
        "page", pages, ids=[page.relative_to(ROOT).as_posix() for page in pages]
    )


def with_commands() -> list[Path]:
    return [page for page in PAGES if any(commands(page))]


def test_the_readme_begins_with_the_two_commands():
    assert blocks(ROOT / "README.md", "sh")[:2] == [INSTALL, TEST]


def test_commands_are_found_in_pages():
    found = [" ".join(command) for command in commands(ROOT / "README.md")]

    assert "demo" in found
    assert "evaluate masks Dataset004_Hippocampus/labelsTs" in found
    assert "plugins trainer quick" in found


def test_a_command_with_an_unknown_option_does_not_parse():
    with pytest.raises(Exception, match="No such option"):
        parse(["train", "DATASET", "2d", "--batches", "250"])


@named(with_commands())
def test_commands_parse(page):
    for command in commands(page):
        parse(command)


@named(with_commands())
def test_settings_in_commands_exist(page):
    examples = {"edge", "probability", "gamma", "smoothing", "features", "share", "max_minutes"}
    fields = set(Configuration.__dataclass_fields__)
    for command in commands(page):
        for path in parse_settings(parse(command).get("settings")):  # type: ignore[arg-type]
            first, _, option = path.removeprefix("3d_fullres.").partition(".")
            if not option:
                assert first in fields, path
            else:
                assert first in {*PARTS, "planner"}, path
                assert option in known_options(first) | examples, path


def test_options_of_the_table_for_nnunet_users_exist():
    found = list(lone_options(ROOT / "README.md"))
    lines = (["train", "DATASET", "2d"], ["predict", "M", "I", "O"], ["plan", "DATASET"])

    assert len(found) > 15
    for options in found:
        values = ["1"] if options[-1] in ("--workers", "--workspace") else []
        assert any(_parses([*line, *options, *values]) for line in lines), options
        for option, value in pairwise(options):
            if option == "--set":
                part, _, name = value.partition("=")[0].partition(".")
                assert name in known_options(part), value


def _parses(arguments: list[str]) -> bool:
    try:
        parse(arguments)
    except Exception as error:
        assert "option" in str(error).lower(), (arguments, error)
        return False
    return True


@named(PAGES)
def test_links_lead_somewhere(page):
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        path, _, anchor = target.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@named([page for page in PAGES if blocks(page, "python")])
def test_python_blocks_compile(page):
    for code in blocks(page, "python"):
        ast.parse(code)


def test_reference_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_every_hook_has_a_heading_equal_to_its_signature():
    headings = HEADING.findall((REFERENCE / "hooks.md").read_text("utf-8"))
    for name, hook in vars(hookspecs).items():
        if name.startswith("nnseg_"):
            given = inspect.signature(hook)
            named = [f"{p.name}: {p.annotation}" for p in given.parameters.values()]
            assert f"`{name}({', '.join(named)}) -> {given.return_annotation}`" in headings


def test_every_kind_has_a_page_and_a_hook():
    listed = (ROOT / "docs" / "README.md").read_text("utf-8")
    for kind in KINDS:
        assert f"(plugins/{kind.name}.md)" in listed
        assert hasattr(hookspecs, kind.hook)


def test_every_component_and_option_is_documented():
    text = (REFERENCE / "components.md").read_text("utf-8")
    sections = dict(re.findall(r"^### (.+)\n((?:(?!^##).*\n)*)", text, re.MULTILINE))
    for kind in KINDS:
        for name, component in PLUGINS.of_kind(kind).items():
            if " (nnseg " in component.provider:
                section = sections[f"{kind.name} {name}"]
                for option in parameters(component.factory):
                    row = re.search(rf"^\| `{option}` \| .* \| (.*) \|$", section, re.MULTILINE)
                    assert row, f"{component}: {option} has no row"
                    assert row[1], f"{component}: {option} has no description"


def test_every_fact_of_the_run_is_documented():
    text = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text("utf-8")
    configuration = Configuration(
        spacing=(1.0, 1.0),
        patch_size=(8, 8),
        batch_size=2,
        median_shape=(8.0, 8.0),
        features=(4,),
        strides=((1, 1),),
        kernel_sizes=((3, 3),),
        normalization=("zscore",),
        mask_normalization=(False,),
        batch_dice=True,
    )
    description = DatasetDescription(
        name="a", channels=("MR",), labels=Labels(values={"organ": (1,)}), file_ending=".nii.gz"
    )
    for fact in facts_of(configuration, description):
        assert f"| `{fact}` |" in text


def test_kinds_of_a_configuration_are_its_fields():
    assert set(PARTS) <= set(Configuration.__dataclass_fields__)
    assert {kinds.READER.name, kinds.PLANNER.name, kinds.CALLBACK.name}.isdisjoint(PARTS)


def test_constraints_pin_versions_and_name_no_place():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]

    assert "torch==2.13.0" in pins
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert not any("://" in line for line in lines)
