"""What a licence obliges to: names as people write them -> SPDX identifiers -> obligations; and expressions over several licences.

This is no legal advice. It is a table that errs on the strict side: what it does not know is `unknown`, and `unknown` can be denied.
"""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from instil.core.errors import UserError, nearest

OBLIGATIONS = {
    "by": "the author must be named, or the notice kept",
    "sa": "what is made of it must carry the same licence",
    "nc": "not for commercial use",
    "nd": "nothing may be made of it",
    "copyleft": "software that contains it must be published under the same licence",
    "terms": "further terms of use, such as a list of forbidden uses or of models that may not be trained",
    "unknown": "nobody has declared a licence, or one that is not known here",
}
NONE_DECLARED = "NOASSERTION"  # SPDX's own word

# SPDX identifier (where there is one) -> obligations. Creative Commons' are read by rule, see `_creative_commons`.
TABLE: dict[str, str] = {
    "CC0-1.0": "", "Unlicense": "", "PDDL-1.0": "", "WTFPL": "", "0BSD": "", "MIT-0": "", "LicenseRef-Public-Domain": "",
    "Apache-2.0": "by", "MIT": "by", "BSD-2-Clause": "by", "BSD-3-Clause": "by", "ISC": "by", "Zlib": "by", "BSL-1.0": "by", "AFL-3.0":
    "by",
    "Artistic-2.0": "by", "ECL-2.0": "by", "NCSA": "by", "MS-PL": "by", "PostgreSQL": "by", "ODC-By-1.0": "by", "CDLA-Permissive-1.0": "by",
    "CDLA-Permissive-2.0": "by", "etalab-2.0": "by", "OGL-UK-3.0": "by", "C-UDA-1.0": "terms", "ODbL-1.0": "by sa", "CDLA-Sharing-1.0":
    "by sa",
    "GFDL-1.3-or-later": "by sa", "GPL-2.0-or-later": "by copyleft", "GPL-3.0-or-later": "by copyleft", "AGPL-3.0-or-later": "by copyleft",
    "LGPL-2.1-or-later": "by copyleft", "LGPL-3.0-or-later": "by copyleft", "MPL-2.0": "by copyleft", "EPL-2.0": "by copyleft",
    "EUPL-1.2": "by copyleft", "OSL-3.0": "by copyleft", "LicenseRef-OpenRAIL": "by terms", "LicenseRef-Llama-Community": "by terms",
    "LicenseRef-Gemma": "by terms", "LicenseRef-OpenAI-Terms": "terms", "LicenseRef-Research-Only": "nc terms",
}  # fmt: skip

# Spellings besides the identifiers themselves, folded as `_folded` does.
SPELLINGS = {
    name: identifier
    for identifier, names in {
        "CC0-1.0": "cc0|cc 0|cc zero|cc0 1.0 universal|creative commons zero|creative commons zero v1.0 universal",
        "LicenseRef-Public-Domain": "public domain|publicdomain|pd|librivox: public domain",
        "Unlicense": "the unlicense",
        "PDDL-1.0": "pddl|odc pddl|public domain dedication and license",
        "Apache-2.0": "apache|apache 2|apache2|apache license|apache license 2.0|apache software license|apache license version 2.0",
        "MIT": "the mit|mit license|the mit license|expat",
        "BSD-2-Clause": "bsd 2|simplified bsd",
        "BSD-3-Clause": "bsd|bsd 3|new bsd|bsd license",
        "BSL-1.0": "boost|boost software license",
        "ODC-By-1.0": "odc by|odc attribution|open data commons attribution license",
        "ODbL-1.0": "odbl|open database license|odc odbl",
        "CDLA-Permissive-2.0": "cdla permissive",
        "C-UDA-1.0": "c uda|computational use of data agreement",
        "GFDL-1.3-or-later": "gfdl|gnu free documentation license|gfdl 1.3",
        "GPL-2.0-or-later": "gpl 2|gpl2|gplv2|gpl 2.0|gpl 2.0 only|gnu gpl 2",
        "GPL-3.0-or-later": "gpl|gpl 3|gpl3|gplv3|gpl 3.0|gpl 3.0 only|gnu gpl|gnu gpl 3|gnu general public license",
        "AGPL-3.0-or-later": "agpl|agpl 3|agpl 3.0|agplv3|agpl 3.0 only|gnu affero general public license",
        "LGPL-2.1-or-later": "lgpl 2.1|lgpl 2.1 only",
        "LGPL-3.0-or-later": "lgpl|lgpl 3|lgpl 3.0|lgplv3|lgpl 3.0 only",
        "MPL-2.0": "mpl|mozilla public license 2.0",
        "LicenseRef-OpenRAIL": "openrail|openrail++|creativeml openrail m|bigscience openrail m|bigcode openrail m"
        "|bigscience bloom rail 1.0",
        "LicenseRef-Llama-Community": "llama2|llama3|llama3.1|llama3.2|llama3.3|llama4|llama 2|llama 3|llama 2 community license"
        "|llama 3 community license|llama 3.1 community license",
        "LicenseRef-Gemma": "gemma|gemma terms of use",
        "LicenseRef-OpenAI-Terms": "openai|openai terms of use|openai terms",
        "LicenseRef-Research-Only": "research only|research use only|non commercial research|for research purposes only",
    }.items()
    for name in names.split("|")
}

CC_PARTS = {
    "by": "by",
    "attribution": "by",
    "nc": "nc",
    "noncommercial": "nc",
    "sa": "sa",
    "sharealike": "sa",
    "nd": "nd",
    "noderivatives": "nd",
}
CC_PARTS |= {"noderivs": "nd"}
_TOKENS = re.compile(r"\s*(\(|\)|\bAND\b|\bOR\b|[^()\s][^()]*?(?=\s+(?:AND|OR)\b|\s*[()]|\s*$))")


@dataclass(frozen=True, slots=True)
class Licence:
    """One licence: its SPDX identifier (or the text given, where it has none) and what it obliges to."""

    name: str
    obligations: frozenset[str]


UNKNOWN = Licence(NONE_DECLARED, frozenset({"unknown"}))


@functools.lru_cache(maxsize=4096)  # asked once a row, and a million rows have a handful of licences
def licence_of(text: str | None) -> Licence:
    """The licence that one name, spelling or address means; what is not in the table keeps its text and is `unknown`."""
    if text is None or not text.strip():
        return UNKNOWN
    folded = _folded(text)
    for identifier, obligations in TABLE.items():
        if folded == _folded(identifier) or SPELLINGS.get(folded) == identifier:
            return Licence(identifier, frozenset(obligations.split()))
    return _creative_commons(folded) or Licence(" ".join(text.split()), UNKNOWN.obligations)


def obligations_of(expression: str | None) -> frozenset[str]:
    """Of an SPDX expression: the union over AND; of an OR the alternative with the fewest, since whoever uses it may choose.

    `WITH` and `+` do not occur in data licences and make a name unknown.
    """
    if expression is None or not re.search(r"\b(AND|OR)\b", expression):
        return licence_of(expression).obligations
    tokens = _TOKENS.findall(expression)
    try:
        found = _either(tokens)
    except IndexError:
        return UNKNOWN.obligations
    return UNKNOWN.obligations if tokens else found


def unite(expressions: Iterable[str | None]) -> str | None:
    """The licence of what was made of several things: `MIT AND CC-BY-4.0`, sorted, each once; a part without any is NOASSERTION.

    None where no part has one. An expression of more than one licence keeps its brackets.
    """
    parts: set[str] = set()
    for expression in expressions:
        if expression is None:
            parts.add(NONE_DECLARED)
        elif re.search(r"\bOR\b", expression):
            parts.add(expression if expression.startswith("(") and expression.endswith(")") else f"({expression})")
        else:
            parts |= {licence_of(part).name for part in re.split(r"\s+AND\s+", expression)}
    return " AND ".join(sorted(parts)) if parts - {NONE_DECLARED} else None


def check_obligations(names: Iterable[str]) -> frozenset[str]:
    """Raises UserError for a word that is no obligation."""
    found = frozenset(names)
    for name in found:
        if name not in OBLIGATIONS:
            raise UserError(f"--deny {name}: no such obligation; {nearest(name, OBLIGATIONS)}")
    return found


def _either(tokens: list[str]) -> frozenset[str]:
    """Reads `a AND b OR c` off `tokens`; AND binds closer. Raises IndexError where something is missing."""
    found = [_both(tokens)]
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        found.append(_both(tokens))
    return min(found, key=lambda obligations: ("unknown" in obligations, len(obligations)))


def _both(tokens: list[str]) -> frozenset[str]:
    found = _one(tokens)
    while tokens and tokens[0] == "AND":
        tokens.pop(0)
        found |= _one(tokens)
    return found


def _one(tokens: list[str]) -> frozenset[str]:
    token = tokens.pop(0)
    if token != "(":
        return licence_of(token).obligations
    inner = _either(tokens)
    tokens.pop(0)
    return inner


def _creative_commons(folded: str) -> Licence | None:
    """`cc by nc 4.0`, `creativecommons.org/licenses/by-sa/3.0/`, `Creative Commons Attribution-NonCommercial 4.0 International`."""
    rest = re.sub(r"^.*?(?:creativecommons\.org/licenses/|creative commons |cc ?)", "", folded, count=1)
    if rest == folded:
        return None
    rest = re.sub(r"non ?commercial", "noncommercial", re.sub(r"share ?alike", "sharealike", re.sub(r"no ?deriv", "noderiv", rest)))
    words = [word for word in re.split(r"[ /]+", rest) if word]
    parts = {CC_PARTS[word] for word in words if word in CC_PARTS}
    version = next((word for word in words if re.fullmatch(r"\d\.\d", word)), None)
    if "by" not in parts or any(w not in CC_PARTS and w not in _CC_FILLERS and w != version for w in words):
        return None
    name = "-".join(["CC", *(part.upper() for part in ("by", "nc", "sa", "nd") if part in parts), *([version] if version else [])])
    return Licence(name, frozenset(parts))


_CC_FILLERS = {"international", "license", "licence", "unported", "public", "legalcode", "deed", "generic", "deed.en", "us", "igo"}


def _folded(text: str) -> str:
    """Letter case, hyphens, underscores, commas, a leading article and a bracketed remark do not count."""
    plain = re.sub(r"\s*\((?:https?:)?[^()]*\)", "", text.casefold())
    plain = re.sub(r"\bversion\b|\bv(?=\d)", " ", plain)
    return " ".join(re.sub(r"[-_,]+", " ", plain).split()).removesuffix(".")
