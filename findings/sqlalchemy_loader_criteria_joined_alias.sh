#!/bin/sh
# SQLAlchemy 2.1.9: `with_loader_criteria` on an alias that a query joins stands on the table itself.
#
# With `include_aliases=True` and a condition that is an expression (no lambda), the alias of an entity is filtered rightly where
# it is selected from: WHERE item_1.place …. Where it is the right side of a JOIN, the ON clause names the table in its place. Where
# that table is in the query as well, the statement is valid, and rows of the alias that the criteria should hide are returned;
# where it isn't, the database refuses the statement. Seen:
#
#   SELECT item_1.id FROM item AS item_1 WHERE item_1.place != :place_1
#   SELECT item.id FROM item JOIN item AS item_1 ON item_1.id = item.source AND item.place != :place_1 WHERE item.place != :place_1
#
# A lambda is given the alias, and is right, but can't be kept with values that change. A subclass of the option that adapts
# the condition is what `store/access/hidden.py` uses.
#
# Exits 0 while that is so, 1 once the ON clause names the alias, 2 if something else came out.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sqlalchemy==2.1.9

"$folder/venv/bin/python" - <<'PYTHON'
import sys

from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, with_loader_criteria


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[int]
    place: Mapped[int]


other = aliased(Item)
hide = with_loader_criteria(Item, Item.place != 7, include_aliases=True)
alone, joined = (
    " ".join(str(one.options(hide)).split())
    for one in (select(other.id), select(Item.id).join(other, other.id == Item.source))
)
print(alone, joined, sep="\n")
if "WHERE item_1.place" not in alone:
    sys.exit(2)
sys.exit("AND item_1.place" in joined)
PYTHON
