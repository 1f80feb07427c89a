"""The registry: every name once, every mistake explained, nothing heavy imported before it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from models.estimator import ClassFactory, ClassType, create


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(ClassFactory, "registry", dict(ClassFactory.registry))


def test_a_class_is_found_by_its_alias_or_its_name():
    @ClassFactory.register(ClassType.GENERAL, alias="mine")
    class First:
        pass

    @ClassFactory.register()
    class Second:
        pass

    assert ClassFactory.get_cls(ClassType.GENERAL, "mine") is First
    assert ClassFactory.get_cls(ClassType.GENERAL, "Second") is Second
    assert ClassFactory.alias_of(First) == "mine"


def test_a_doubled_alias_names_both_classes():
    @ClassFactory.register(ClassType.GENERAL, alias="mine")
    class First:
        pass

    with pytest.raises(ValueError, match=r"Other cannot be registered as 'mine': .*First already is"):

        @ClassFactory.register(ClassType.GENERAL, alias="mine")
        class Other:
            pass

    assert ClassFactory.get_cls(ClassType.GENERAL, "mine") is First


def test_the_same_alias_of_another_kind_is_another_class():
    @ClassFactory.register(ClassType.HEM, alias="mine")
    class Miner:
        pass

    with pytest.raises(LookupError):
        ClassFactory.get_cls(ClassType.GENERAL, "mine")


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(LookupError, match=r"'FPM'; known are .*FPN"):
        create("FPM")


def test_an_unregistered_class_has_no_alias():
    with pytest.raises(LookupError, match="decorate it"):
        ClassFactory.alias_of(int)


def test_wrong_parameters_name_the_estimator():
    with pytest.raises(ValueError, match=r"'FPN' refuses its parameters.*colour"):
        create("FPN", classes=["a"], colour="red")


def test_an_estimator_of_a_predecessor_needs_no_more_than_its_methods():
    @ClassFactory.register(ClassType.GENERAL, alias="old")
    class Old:
        def __init__(self, learning_rate: float):
            self.learning_rate = learning_rate

    estimator = create("old", learning_rate=0.1)
    assert (estimator.parameters, estimator.threshold) == ({"learning_rate": 0.1}, 0.5)


def test_the_contract_is_light():
    modules = "models.estimator, models.metrics, models.version"
    check = f"import sys, {modules}; sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
