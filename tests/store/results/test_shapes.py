"""Which jobs take the same time for a step: the SQL function `shape_of`."""

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, sessionmaker

from tests.support.trainer_specs import make_spec


def test_how_many_devices_share_a_batch_belongs_to_the_shape(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:

        def shape(**resources: object) -> str | None:
            document = make_spec(resources=resources).model_dump(mode="json")
            return session.scalar(select(func.shape_of(literal(document, JSONB))))

        def shape_from(**origin: object) -> str | None:
            document = make_spec(**origin).model_dump(mode="json")
            return session.scalar(select(func.shape_of(literal(document, JSONB))))

        # Whose weights a job begins with doesn't change what a step takes.
        assert shape_from() == shape_from(init_from={"job": 1}) == shape()
        assert shape() == shape(device="cpu", priority="high", exclusive=True)
        assert len({shape(), shape(devices=2), shape(devices=4)}) == 3
