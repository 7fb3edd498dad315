"""The wheel: it carries the SQL, and works where there is no checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SQL = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "sql").rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the checkout without the network."""
    made = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-build-isolation", "--wheel-dir", made, ROOT)
    (path,) = made.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A directory with the wheel's packages in it and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    _pip("install", "--target", target, wheel)
    return target


@pytest.fixture
def run(installed, tmp_path):
    """Run Python far from the checkout; the installed packages come before those of the venv."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=dict(os.environ, PYTHONPATH=str(installed)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def test_the_wheel_holds_every_sql_file_unchanged(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name.removeprefix("syncsession_client/"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("syncsession_client/sql/")
        }
    assert packed == {name: (ROOT / name).read_bytes() for name in SQL}


def test_the_wheel_holds_two_packages_and_the_licence_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    (about,) = top - {"syncsession_client", "syncsession_server"}
    assert about.endswith(".dist-info")
    assert f"{about}/licenses/LICENSE" in names
    kinds = {Path(name).suffix for name in names if not name.startswith(about)}
    assert kinds == {".py", ".sql", ".j2"}


def test_the_installed_package_finds_its_sql_inside_itself(run, installed):
    found = run("-c", "from syncsession_client.statements import root; print(root())").strip()
    assert Path(found) == installed / "syncsession_client" / "sql"


def test_every_sql_file_loads_from_the_installed_package(run):
    code = (
        "import sys\n"
        "from syncsession_client.statements import load\n"
        "for path in sys.argv[1:]:\n"
        "    print(path, len(list(load(path))) > 0)"
    )
    paths = [name.removeprefix("sql/") for name in SQL]
    assert run("-c", code, *paths).splitlines() == [f"{path} True" for path in paths]


@pytest.mark.parametrize("package", ["syncsession_client", "syncsession_server"])
def test_the_command_runs_from_the_installed_package(run, installed, package):
    assert "Usage: " in run("-m", package, "--help")
    version = run("-m", package, "--version").strip()
    (about,) = installed.glob("syncsession-*.dist-info")
    assert version.endswith(about.name.removeprefix("syncsession-").removesuffix(".dist-info"))


def _pip(command, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pip", command, "--quiet", "--no-index", "--no-deps", *arguments],
        env=dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
