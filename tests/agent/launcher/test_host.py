from pathlib import Path

import pytest

from agent.launcher.host import choose_runtime
from agent.launcher.protocol import LauncherError

HERE = {"crun": Path("/usr/bin/crun"), "runc": Path("/usr/bin/runc")}


def test_crun_is_taken_unless_it_would_refuse_to_start() -> None:
    assert choose_runtime("auto", crun_refuses=False, find=HERE.get) == Path("/usr/bin/crun")
    assert choose_runtime("auto", crun_refuses=True, find=HERE.get) == Path("/usr/bin/runc")
    assert choose_runtime("auto", crun_refuses=False, find={"runc": HERE["runc"]}.get) == Path("/usr/bin/runc")


def test_roots_own_choice_is_taken_if_it_can_run() -> None:
    assert choose_runtime("/bin/sh", crun_refuses=True, find=HERE.get) == Path("/bin/sh")
    for wanted in ("/no/such/runtime", "crun"):
        with pytest.raises(LauncherError, match="is not installed"):
            choose_runtime(wanted, crun_refuses=False, find={}.get)


@pytest.mark.parametrize(("refuses", "install"), [(True, "install runc"), (False, "install crun")])
def test_without_a_runtime_the_remedy_is_named(refuses: bool, install: str) -> None:
    with pytest.raises(LauncherError, match=install):
        choose_runtime("auto", crun_refuses=refuses, find={"crun": HERE["crun"]}.get if refuses else {}.get)
