"""The run that trains a fresh masked-LM head."""

from medlingua.recipes.resolve import resolve
from medlingua.recipes.strategies.head import head_run


def test_a_head_is_trained_on_the_revision_of_the_base_with_an_optimizer_of_its_own() -> None:
    run = resolve(
        {"strategy": "continue", "lang": "fr", "base": "some/base", "revision": "abc", "data": {"paths": ["notes"]}},
        sets=("adapt.head=fresh", "train.optimizer_from=runs/earlier", "train.average=3", "train.seed=7"),
    )
    head = head_run(run, "some/base")
    assert (head.base, head.revision, head.train.seed) == ("some/base", "abc", 7)
    assert (head.train.optimizer_from, head.train.average) == (None, 1)
