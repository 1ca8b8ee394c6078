"""docs/families.md says of each family what its specification says."""

from pathlib import Path

from launcher.families import FAMILIES, find

PAGE = Path(__file__).parents[2] / "docs" / "families.md"


def test_the_table_is_what_the_families_say_of_themselves() -> None:
    rows = [
        line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")
    ]
    told = {row[0].strip("`"): [cell == "yes" for cell in row[2:]] for row in rows}
    assert told == {
        name: [family.packed_by is not None, family.can_capture, family.can_shrink, family.can_checkpoint]
        for name, family in ((name, find(name)) for name in FAMILIES)
    }
