"""Each file of hil/env is one that labgrid takes, and says no feature that no test knows."""

import re
from pathlib import Path

import pytest
from labgrid import Environment
from labgrid.driver import QEMUDriver

from hil.image import recipe
from hil.strategy import BoardStrategy

HIL = Path(__file__).parents[2] / "hil"
ENVIRONMENTS = sorted((HIL / "env").glob("*.yaml"))
README = (HIL / "README.md").read_text()


@pytest.fixture(params=ENVIRONMENTS, ids=lambda path: path.stem)
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """As run.py and an operator would have it; nothing is switched on."""
    for name in set(re.findall(r"\$(LG_\w+)", request.param.read_text())):
        monkeypatch.setenv(name, "http://192.0.2.20" if name == "LG_BOARD_POWER" else "/nowhere")
    return Environment(str(request.param))


def test_labgrid_makes_a_board_of_it_with_power_ssh_and_our_strategy(environment: Environment) -> None:
    target = environment.get_target("main")
    strategy = target.get_strategy()
    assert isinstance(strategy, BoardStrategy)
    assert strategy.power is not None
    assert strategy.ssh is not None
    assert environment.config.data["options"]["central_address"]


def test_a_virtual_board_is_in_the_recipe_and_a_real_one_says_where_it_is(environment: Environment) -> None:
    name = Path(environment.config_file).stem
    virtual = any(isinstance(driver, QEMUDriver) for driver in environment.get_target("main").drivers)
    assert virtual == (name in recipe.BOARDS) == ("virtual" in environment.get_target_features())
    if not virtual:
        for variable in re.findall(r"\$(LG_\w+)", Path(environment.config_file).read_text()):
            assert variable in README, variable


def test_every_feature_is_in_the_readme(environment: Environment) -> None:
    for feature in environment.get_target_features():
        assert f"`{feature}`" in README, feature


def test_no_test_asks_for_a_feature_that_no_board_has() -> None:
    text = "\n".join(path.read_text() for path in (HIL / "suite").glob("test_*.py"))
    asked = {word for call in re.findall(r"lg_feature\(([^)]*)\)", text) for word in re.findall(r'"([\w-]+)"', call)}
    had = {
        word.strip()
        for path in ENVIRONMENTS
        for line in re.findall(r"features: \[(.*)\]", path.read_text())
        for word in line.split(",")
    }
    assert asked - had == set()
