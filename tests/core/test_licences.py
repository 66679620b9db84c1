"""Names of licences as people write them, and what follows from several."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.core.errors import UserError
from instil.core.licences import OBLIGATIONS, TABLE, check_obligations, licence_of, obligations_of, unite

SPELLINGS = {
    "cc-by-nc-4.0": ("CC-BY-NC-4.0", "by nc"),
    "CC BY 4.0": ("CC-BY-4.0", "by"),
    "CC BY-SA 3.0": ("CC-BY-SA-3.0", "by sa"),
    "cc-by-nc-sa-4.0": ("CC-BY-NC-SA-4.0", "by nc sa"),
    "cc-by-nd-4.0": ("CC-BY-ND-4.0", "by nd"),
    "cc-by": ("CC-BY", "by"),
    "https://creativecommons.org/licenses/by-nc/4.0/": ("CC-BY-NC-4.0", "by nc"),
    "Creative Commons Attribution 4.0 International": ("CC-BY-4.0", "by"),
    "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International": ("CC-BY-NC-SA-4.0", "by nc sa"),
    "CC0": ("CC0-1.0", ""),
    "cc0-1.0": ("CC0-1.0", ""),
    "Public Domain": ("LicenseRef-Public-Domain", ""),
    "LibriVox: Public Domain (https://librivox.org/pages/public-domain/)": ("LicenseRef-Public-Domain", ""),
    "Apache 2.0": ("Apache-2.0", "by"),
    "apache-2.0": ("Apache-2.0", "by"),
    "Apache License, Version 2.0": ("Apache-2.0", "by"),
    "MIT": ("MIT", "by"),
    "The MIT License": ("MIT", "by"),
    "gpl-3.0": ("GPL-3.0-or-later", "by copyleft"),
    "odc-by": ("ODC-By-1.0", "by"),
    "odbl": ("ODbL-1.0", "by sa"),
    "llama3.1": ("LicenseRef-Llama-Community", "by terms"),
    "other": ("other", "unknown"),
    "cc": ("cc", "unknown"),
    "cc-by-weird": ("cc-by-weird", "unknown"),
    "": ("NOASSERTION", "unknown"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings(spelling):
    name, duties = SPELLINGS[spelling]
    found = licence_of(spelling)
    assert (found.name, found.obligations) == (name, frozenset(duties.split()))


@pytest.mark.parametrize("name", TABLE)
def test_identifiers_mean_themselves(name):
    assert licence_of(name).name == name == licence_of(name.lower()).name
    assert licence_of(name).obligations <= set(OBLIGATIONS) - {"unknown"}


EXPRESSIONS = {
    None: "unknown",
    "NOASSERTION": "unknown",
    "MIT AND CC-BY-NC-4.0": "by nc",
    "MIT AND NOASSERTION": "by unknown",
    "CC-BY-NC-4.0 OR CC0-1.0": "",
    "(MIT OR GPL-3.0-or-later) AND CC-BY-SA-4.0": "by sa",
    "MIT AND CC-BY-NC-4.0 OR CC-BY-4.0": "by",
    "gibberish OR MIT": "by",
    "C-UDA-1.0 AND CC-BY-NC-4.0": "by nc terms",  # as a name it would be read as the second alone
    "MIT AND": "unknown",
    "(MIT": "unknown",
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions(expression):
    assert obligations_of(expression) == frozenset(EXPRESSIONS[expression].split())


known = st.sampled_from([*TABLE, "CC-BY-NC-4.0", "CC-BY-SA-4.0", None, "nobody knows"])


@given(st.lists(known, min_size=1, max_size=5))
def test_a_union_obliges_to_what_its_parts_oblige_to(parts):
    united = unite(parts)
    assert obligations_of(united) == frozenset().union(*(obligations_of(part) for part in parts))
    assert unite([united, *parts]) == united and unite(reversed(parts)) == united


def test_a_choice_stays_a_choice_in_a_union():
    assert obligations_of(unite(["MIT OR CC-BY-NC-4.0", "CC0-1.0"])) == {"by"}


def test_obligations_are_checked():
    assert check_obligations(["nc", "unknown"]) == {"nc", "unknown"}
    with pytest.raises(UserError, match="--deny ncc: no such obligation; did you mean 'nc'"):
        check_obligations(["ncc"])
