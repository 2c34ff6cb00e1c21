"""Fails when a test was skipped for a reason that is not on the allow-list: skips.py FIRST.xml SECOND.xml."""

import re
import sys
import xml.etree.ElementTree as ET

NOT_HERE = r"the extra minihack is not installed"  # in the first environment: `make test` runs them in the second
# as root these try an ordinary user, who may not see every checkout and every engine
USER = [r"no Python and checkout that an ordinary user can read", r"everybody may use this engine"]
ALLOWED = {
    "first": [r"no cuda device", NOT_HERE, *USER],
    # the second has MiniHack and little else; what it lacks is tested in the first
    "second": [r"no cuda device", r"could not import '(?!nle|minihack)", r"the extra (?!minihack)\w+ is not installed"],
}

bad = []
for which, path in zip(ALLOWED, sys.argv[1:], strict=True):
    for case in ET.parse(path).getroot().iter("testcase"):
        skip = case.find("skipped")
        said = (
            "" if skip is None else f"{skip.get('message') or ''} {skip.text or ''}"
        )  # a whole file says it in the text
        if skip is not None and not any(re.search(p, said) for p in ALLOWED[which]):
            bad.append(f"{which}: {case.get('classname')}::{case.get('name')}: {said}")
print("\n".join(["skipped for a reason that .ci/skips.py does not allow:", *bad]) if bad else "no unexpected skips")
sys.exit(bool(bad))
