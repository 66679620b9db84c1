from instil.release.parity import Check, Parity


def test_one_failed_check_fails_the_export():
    good, bad = Check("a", True, ""), Check("b", False, "why")
    assert Parity("hf", (good,)).passed
    assert not Parity("hf", (good, bad)).passed
