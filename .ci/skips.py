"""Fails when a test was skipped for a reason that is not on the allow-list."""

import re
import sys
import xml.etree.ElementTree as ET

ALLOWED = [
    r"no cuda device",  # the test of the text agent on a GPU
]

bad = []
for case in ET.parse(sys.argv[1]).getroot().iter("testcase"):
    skip = case.find("skipped")
    if skip is not None and not any(re.search(p, skip.get("message") or "") for p in ALLOWED):
        bad.append(f"{case.get('classname')}::{case.get('name')}: {skip.get('message')}")
print("\n".join(["skipped for a reason that .ci/skips.py does not allow:", *bad]) if bad else "no unexpected skips")
sys.exit(bool(bad))
