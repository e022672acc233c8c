"""What pods report of a step, compared."""

from palmetto.pods.digests import CHANGED, UNEQUAL, UNLIKE, Difference, Digests, Report


def digests() -> Digests:
    made = Digests()
    made.start(4, "s4")
    return made


def test_a_step_is_agreed_on_once_all_that_live_have_reported() -> None:
    made = digests()
    made.note(5, 0, Report("s4", "s5"))
    assert made.compare([0, 1]) is None
    assert made.serial == 4
    made.note(6, 0, Report("s5", "s6"))  # it may be a step ahead
    made.note(5, 1, Report("s4", "s5"))
    assert made.compare([0, 1]) is None
    assert (made.serial, made.agreed) == (5, "s5")
    assert made.compare([0]) is None, "the other is lost"
    assert (made.serial, made.agreed) == (6, "s6")


def test_what_a_lost_pod_reported_does_not_count() -> None:
    made = digests()
    made.note(5, 1, Report("s4", "bad"))
    made.note(5, 0, Report("s4", "s5"))
    assert made.compare([0]) is None
    assert made.agreed == "s5"


def test_a_state_changed_in_memory_is_known_by_its_digest_before() -> None:
    made = digests()
    made.note(5, 0, Report("s4", "s5"))
    made.note(5, 1, Report("x4", "x5"))
    assert made.compare([0, 1]) == Difference(5, [1], CHANGED)


def test_the_majority_is_right_and_without_one_all_are_named() -> None:
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


def test_nothing_is_left_over_from_before_a_rollback() -> None:
    made = digests()
    made.note(5, 0, Report("s4", "s5"))
    made.start(5, "r5")
    assert made.compare([0]) is None
    assert (made.serial, made.agreed) == (5, "r5")
