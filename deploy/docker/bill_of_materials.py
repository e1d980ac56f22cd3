"""Writes a CycloneDX 1.6 bill of materials from `pip inspect`: `python -m pip --python ENV inspect | bill_of_materials.py IMAGE`.

Part of an image's build: what it lists is what was installed, read from the packages' own metadata. Scanners find it in the image under
/opt/corella/bill-of-materials.cdx.json. It has no time and no random number in it, so the same packages give the same bytes.
"""

from __future__ import annotations

import json
import sys
from email.parser import HeaderParser
from pathlib import Path
from typing import Any


def bill(report: dict[str, Any], image: str) -> dict[str, Any]:
    """The bill for what `pip inspect` reports (its format 1), the packages in the order of their names."""
    packages = sorted((_metadata(entry) for entry in report["installed"]), key=lambda metadata: str(metadata["name"]).lower())
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": f"corella/{image}"}},
        "components": [component(metadata) for metadata in packages],
    }


def _metadata(entry: dict[str, Any]) -> dict[str, Any]:
    """What pip says of a package, and its SPDX expression from its own metadata: older pips (23.2 for one) do not report it."""
    metadata: dict[str, Any] = dict(entry["metadata"])
    file = Path(entry.get("metadata_location", "")) / "METADATA"
    if "license_expression" not in metadata and file.is_file():
        headers = HeaderParser().parsestr(file.read_text(encoding="utf-8", errors="replace"))
        metadata["license_expression"] = headers.get("License-Expression")
    return metadata


def component(metadata: dict[str, Any]) -> dict[str, Any]:
    """One package. Its licence is the SPDX expression where it gives one, else what it calls its licence, if that is one line,
    else its classifiers."""
    name, version = str(metadata["name"]), str(metadata["version"])
    url = f"pkg:pypi/{name.lower().replace('_', '-').replace('.', '-')}@{version.replace('+', '%2B')}"
    found: dict[str, Any] = {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
    expression, text = metadata.get("license_expression"), str(metadata.get("license") or "").strip()
    if expression:
        found["licenses"] = [{"expression": expression}]
    elif text and "\n" not in text:
        found["licenses"] = [{"license": {"name": text}}]
    elif named := [each.rpartition(" :: ")[2] for each in metadata.get("classifier", ()) if each.startswith("License :: ")]:
        found["licenses"] = [{"license": {"name": each}} for each in named]
    return found


if __name__ == "__main__":
    json.dump(bill(json.load(sys.stdin), sys.argv[1]), sys.stdout, indent=1, ensure_ascii=False)
