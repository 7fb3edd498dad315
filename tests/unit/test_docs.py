"""The documentation agrees with the code: generated pages, --json keys, routes, links."""

import importlib.util
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
START_SECONDS = 60


def load_generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()
COMMANDS = dict(generate.commands())


# The generated reference


def test_the_generated_reference_is_up_to_date():
    assert generate.outdated() == [], "run python docs/generate.py"


def test_checking_notices_a_page_that_differs(tmp_path, monkeypatch):
    changed = tmp_path / "http.md"
    changed.write_text(reference("http.md").replace("/v1/me", "/v1/you"))
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    assert changed in generate.outdated()


def test_every_route_has_a_section_of_its_own():
    page = reference("http.md")
    sections = set(re.findall(r"^## ([A-Z]+ /\S+)$", page, re.M))
    listed = set(re.findall(r"^\| `([A-Z]+)` \| `(\S+)` \|", page, re.M))
    assert sections == {f"{method} {path}" for method, path in listed} != set()


def test_every_code_in_the_how_to_exists():
    known = set(re.findall(r"^\| `(\w+)` \| `\w+` \|", reference("errors.md"), re.M))
    first_columns = re.findall(
        r"^\| (`[^|]*`) \|", (DOCS / "how-to" / "errors.md").read_text(), re.M
    )
    named = {code for column in first_columns for code in re.findall(r"`(\w+)`", column)}
    assert named - known == set() != named


def test_every_code_of_a_finding_is_documented_with_its_levels():
    listed = re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", reference("findings.md"), re.M)
    text = "\n".join(p.read_text() for p in (ROOT / "syncsession_client/checkup").glob("*.py"))
    made = re.findall(r'Finding\(\s*"(\w+)",\s*"(\w+)"', text)
    levels: dict[str, set[str]] = {}
    for level, code in made:
        levels.setdefault(code, set()).add(level)
    assert {code: set(level.split(" or ")) for code, level in listed} == levels


def reference(name: str) -> str:
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


# What --json prints


def documented() -> dict[str, dict[str, str]]:
    """The keys of each command in json.md, and their types."""
    sections = re.split(r"^## ", reference("json.md"), flags=re.M)[1:]
    return {
        section.splitlines()[0]: dict(re.findall(r"^\| `(\S+)` \| ([^|]+) \|", section, re.M))
        for section in sections
    }


def flattened(value, name="") -> dict[str, list]:
    """Every key of an output with the values that it has; tables' names stand as <table>."""
    found: dict[str, list] = {}
    if name:
        found[name] = [value]
    if isinstance(value, dict):
        inner = [
            flattened(v, f"{name}.{_MAPS.get(name.rpartition('.')[2], k)}".strip("."))
            for k, v in value.items()
        ]
    elif isinstance(value, list):
        inner = [flattened(v, f"{name}[]") for v in value]
    else:
        inner = []
    for part in inner:
        for key, values in part.items():
            found.setdefault(key, []).extend(values)
    return {key: values for key, values in found.items() if is_named(key)}


_MAPS = {"skipped": "<table>", **dict.fromkeys(("row", "now", "key", "mine", "theirs"), "<column>")}
"""Objects whose keys are names of the application, and what stands for one."""


def is_named(key: str) -> bool:
    """Whether a key has a line of its own: an element of an array, or of a map, has none."""
    return "<column>" not in key and not key.endswith(("[]", "<table>"))


TYPES = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "array": list,
    "array of strings": list,
    "object": dict,
    "null": type(None),
}


@contextmanager
def server(directory: Path) -> Iterator[SimpleNamespace]:
    """A real server on a free port, and a token for it."""
    options = ["--database", f"sqlite:///{directory / 'server.db'}"]
    program = [sys.executable, "-m", "syncsession_server"]
    environment = {n: v for n, v in os.environ.items() if not n.startswith("SYNCSESSION_")}
    process = subprocess.Popen(
        [*program, "run", "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    try:
        said = process.stderr.readline()
        found = re.search(r"ready on (http://\S+)", said)
        assert found, said
        creating = "syncsession-server token create"
        made = run(creating, *options, "--tenant", "acme", "--user", "alice", "--json")
        yield SimpleNamespace(url=found[1], token=made["token"], token_create=made, options=options)
    finally:
        process.terminate()
        process.communicate()
        watchdog.cancel()
        watchdog.join()


def run(
    command: str, *arguments: object, url: str = "", token: str = "", exit_code: int = 0
) -> dict:
    """Run a command of ours in this process; what it printed on stdout, as JSON."""
    result = CliRunner().invoke(
        COMMANDS[command],
        [str(a) for a in arguments],
        env={"SYNCSESSION_SERVER": url, "SYNCSESSION_TOKEN": token, "SYNCSESSION_DATABASE": None},
        catch_exceptions=False,
    )
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def run_plain(command: str, *arguments: object) -> None:
    """Run a command of ours in this process that has no JSON."""
    result = CliRunner().invoke(COMMANDS[command], [str(a) for a in arguments])
    assert result.exit_code == 0, result.output


def watch_events(database: Path, token: str) -> list[dict]:
    """What a watch prints until it has synced once, and while it stops."""
    with subprocess.Popen(
        [sys.executable, "-m", "syncsession_client", "watch", str(database), "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"SYNCSESSION_TOKEN": token},
    ) as process:
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        printed = [process.stdout.readline(), process.stdout.readline()]
        process.terminate()
        printed += process.stdout.readlines()
        watchdog.cancel()
        watchdog.join()
    return [json.loads(line) for line in printed]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict[str, list[dict]]:
    """What each command prints with --json, run on real databases against a real server."""
    directory = tmp_path_factory.mktemp("docs")
    phone, laptop = directory / "phone.db", directory / "laptop.db"
    with closing(sqlite3.connect(phone)) as connection:
        connection.executescript(
            """
            CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT);
            CREATE TABLE tag (name TEXT PRIMARY KEY);
            CREATE TABLE keyless (a);
            CREATE VIEW everything AS SELECT * FROM note;
            INSERT INTO note (body) VALUES ('milk');
            """
        )
    client = "syncsession-client"
    printed: dict[str, list[dict]] = {}

    def add(section: str, output: dict) -> None:
        printed.setdefault(section, []).append(output)

    add(f"{client} check", run(f"{client} check", phone, "--json", exit_code=2))
    add(f"{client} init --dry-run", run(f"{client} init", phone, "--dry-run", "--json"))
    with server(directory) as here:
        add("syncsession-server token create", here.token_create)
        there = {"url": here.url, "token": here.token}
        add(f"{client} init", run(f"{client} init", phone, "--json", **there))
        add(f"{client} status", run(f"{client} status", phone, "--json"))
        add(f"{client} sync", run(f"{client} sync", phone, "--json", **there))
        add(f"{client} sync", run(f"{client} sync", phone, "--json", **there))
        add(f"{client} clone", run(f"{client} clone", laptop, "--json", **there))
        with closing(sqlite3.connect(laptop)) as connection, connection:
            connection.execute("UPDATE note SET body = 'bread'")
            connection.execute("INSERT INTO tag VALUES (NULL)")
        for event in watch_events(laptop, here.token):
            add(f"{client} watch", event)
        with closing(sqlite3.connect(laptop)) as connection, connection:
            connection.execute("UPDATE note SET body = 'butter'")
        add(f"{client} push", run(f"{client} push", laptop, "--json", **there))
        add(f"{client} pull", run(f"{client} pull", phone, "--json", **there))
        add(f"{client} conflicts", run(f"{client} conflicts", phone, "--json"))
        for path, body in ((phone, "jam"), (laptop, "honey")):
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("UPDATE note SET body = ?", [body])
        for path in (phone, laptop, phone):
            run(f"{client} sync", path, "--json", **there)
        for command in ((), ("restore", 1)):
            printed_by = run(f"{client} conflicts", phone, *command, "--json")
            assert len(printed_by["conflicts"]) == 1
            add(f"{client} conflicts", printed_by)
        kept = "syncsession-server conflicts"
        add(kept, run(kept, "--tenant", "acme", "--json", *here.options))
        run(f"{client} user", phone, "bob", "--json")
        with closing(sqlite3.connect(phone)) as connection, connection:
            connection.execute("UPDATE note SET body = 'by bob'")
        run(f"{client} sync", phone, "--json", **there)
        add(f"{client} status", run(f"{client} status", phone, "--json"))
        for command in ("rejects", "retry"):
            held_back = run(f"{client} {command}", phone, "--json")
            assert len(held_back["rejects"]) == 1
            add(f"{client} {command}", held_back)
        run(f"{client} user", phone, "alice", "--json")
        run_plain("syncsession-server policy set", "note", "newest_wins", *here.options)
        chosen = "syncsession-server policy list"
        add(chosen, run(chosen, "--json", *here.options))
        telling = ("note", "1", "--tenant", "acme", *here.options, "--json")
        add("syncsession-server history", run("syncsession-server history", *telling))
    add(f"{client} status", run(f"{client} status", phone, "--json"))
    add(f"{client} check", run(f"{client} check", laptop, "--json", exit_code=2))
    add(f"{client} user", run(f"{client} user", phone, "--json"))
    add(f"{client} user", run(f"{client} user", phone, "bob", "--json"))
    add(f"{client} uninstall", run(f"{client} uninstall", phone, "--dry-run", "--json"))
    add(f"{client} uninstall", run(f"{client} uninstall", phone, "--json"))
    return printed


def test_every_command_that_takes_json_has_a_section():
    takes_json = {
        name
        for name, command in COMMANDS.items()
        if any("--json" in p.opts for p in command.params)
    }
    assert takes_json == set(documented()) - {"syncsession-client init --dry-run"}


def test_every_client_command_takes_json():
    assert [
        name
        for name, command in COMMANDS.items()
        if name.startswith("syncsession-client")
        and not any("--json" in p.opts for p in command.params)
    ] == []


@pytest.mark.parametrize("section", sorted(documented()))
def test_a_command_prints_the_documented_keys_and_no_others(section, outputs):
    keys = {key for output in outputs[section] for key in flattened(output)}
    assert keys == set(documented()[section])


@pytest.mark.parametrize("section", sorted(documented()))
def test_a_command_prints_values_of_the_documented_types(section, outputs):
    for key, text in documented()[section].items():
        allowed = {TYPES[name] for name in text.split(" or ")}
        for output in outputs[section]:
            for value in flattened(output).get(key, []):
                assert type(value) in allowed, f"{key} is {value!r}"
                if text == "array of strings":
                    assert {type(v) for v in value} <= {str}, key


@pytest.mark.parametrize("section", sorted(documented()))
def test_a_key_is_in_every_output_of_its_command(section, outputs):
    always = {k for k in documented()[section] if "<table>" not in k and "[]" not in k}
    for output in outputs[section]:
        assert always <= set(flattened(output))


# The pages


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def prose(page: Path) -> str:
    """The text of a page without its code, each paragraph on one line."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"\n[ ]*(?=\S)", " ", text)


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


def test_every_page_can_be_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)\s#]+\.md)", prose(page))
        linked = {(page.parent / link).resolve() for link in links if ":" not in link}
        waiting.extend(linked - seen)
    assert set(PAGES) - seen == set()


def test_the_readme_is_at_most_ninety_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90
