"""Comparing the digests that pods report."""

from palmetto.pods.digests import CHANGED, UNEQUAL, UNLIKE, Difference, Digests, Report


def digests() -> Digests:
    made = Digests()
    made.start(4, "s4")
    return made


def test_a_step_needs_the_reports_of_all_living_pods() -> None:
    made = digests()
    made.note(5, 0, Report("s4", "s5"))
    assert made.compare([0, 1]) is None
    assert made.serial == 4
    made.note(6, 0, Report("s5", "s6"))  # a pod may be a step ahead
    made.note(5, 1, Report("s4", "s5"))
    assert made.compare([0, 1]) is None
    assert (made.serial, made.agreed) == (5, "s5")
    assert made.compare([0]) is None, "the other pod is lost"
    assert (made.serial, made.agreed) == (6, "s6")


def test_reports_of_lost_pods_do_not_count() -> None:
    made = digests()
    made.note(5, 1, Report("s4", "bad"))
    made.note(5, 0, Report("s4", "s5"))
    assert made.compare([0]) is None
    assert made.agreed == "s5"


def test_the_digest_before_an_update_shows_a_change_in_memory() -> None:
    made = digests()
    made.note(5, 0, Report("s4", "s5"))
    made.note(5, 1, Report("x4", "x5"))
    assert made.compare([0, 1]) == Difference(5, [1], CHANGED)


def test_the_majority_is_right_and_otherwise_all_are_named() -> None:
    for afters, difference in {
        ("s", "s", "x", "s"): Difference(5, [2], UNLIKE),
        ("x", "s", "y", "s"): Difference(5, [0, 2], UNLIKE),
        ("s", "x"): Difference(5, [0, 1], UNEQUAL),
        ("s", "s", "x", "x"): Difference(5, [0, 1, 2, 3], UNEQUAL),
    }.items():
        made = digests()
        for pod, after in enumerate(afters):
            made.note(5, pod, Report("s4", after))
        assert made.compare(range(len(afters))) == difference


def test_a_rollback_discards_earlier_reports() -> None:
    made = digests()
    made.note(5, 0, Report("s4", "s5"))
    made.start(5, "r5")
    assert made.compare([0]) is None
    assert (made.serial, made.agreed) == (5, "r5")
