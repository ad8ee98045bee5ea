"""Registered datasets and the jobs that decode them."""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import literal_column, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.db import (
    PRIORITIES,
    Dataset,
    DatasetUnavailable,
    Job,
    NameTaken,
    Page,
    User,
    newest_first,
    record_created,
)
from trainer.spec import (
    BUILT_IN,
    BuiltIn,
    DatasetInfo,
    DatasetSource,
    JobSpec,
    PluginData,
    content_hash,
)

#: For decoding one dataset, over all attempts.
TIMEOUT_SECONDS = 24 * 3600.0
#: As in the index: of a dataset that is used a lot, all trainings would be looked through.
_IS_REGISTRATION = Job.kind == literal_column("'dataset'")


def seed_built_in(session: Session) -> None:
    """Create or update the rows of the built-in datasets. A dataset that a user registered under such a name, before
    the built-in one existed, stays theirs."""
    source = BuiltIn(kind="builtin").model_dump(mode="json")
    statement = insert(Dataset)
    new = statement.excluded
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Dataset.name],
            set_={"info": new.info, "source": new.source, "status": new.status, "error": None},
            where=Dataset.owner_id.is_(None),
        ),
        [
            {
                "name": name,
                "source": source,
                "status": "ready",
                "info": info.model_dump(mode="json"),
            }
            for name, info in BUILT_IN.items()
        ],
    )


def find(session: Session, name: str) -> Dataset | None:
    return session.scalars(select(Dataset).where(Dataset.name == name)).one_or_none()


def names(session: Session) -> list[str]:
    """The names of all datasets whose registration hasn't failed, in alphabetical order."""
    usable = select(Dataset.name).where(Dataset.status != "failed").order_by(Dataset.name)
    return list(session.scalars(usable))


def list_datasets(session: Session, *, cursor: str | None = None, limit: int = 50) -> Page[Dataset]:
    """Newest first. Raises BadCursor."""
    return newest_first(session, select(Dataset), Dataset.id, cursor, limit)


def statuses(session: Session, names: Collection[str]) -> dict[str, str]:
    """By name; those that there are."""
    rows = session.execute(select(Dataset.name, Dataset.status).where(Dataset.name.in_(names)))
    return {name: status for name, status in rows}


def registrations(session: Session, rows: Sequence[Dataset]) -> dict[int, Job]:
    """By dataset the newest job that decodes, or has decoded it; a built-in one has none."""
    jobs = select(Job).where(Job.dataset_id.in_([row.id for row in rows]), _IS_REGISTRATION)
    # Each registration of a name that had failed has a job of its own; the last one stays.
    return {job.dataset_id: job for job in session.scalars(jobs.order_by(Job.id))}


def owner_names(session: Session, rows: Sequence[Dataset]) -> dict[int, str]:
    """By the owners' ids."""
    ids = {row.owner_id for row in rows if row.owner_id is not None}
    return {
        user_id: name
        for user_id, name in session.execute(select(User.id, User.name).where(User.id.in_(ids)))
    }


def register(
    session: Session,
    owner: User,
    name: str,
    source: DatasetSource,
    trace_context: str | None = None,
) -> tuple[Dataset, Job]:
    """A new dataset and the job that decodes it, in the trace of the request; a name whose registration failed is free
    again.

    Raises NameTaken.
    """
    owner = session.get_one(User, owner.id)
    document = source.model_dump(mode="json")
    again = {"source": document, "status": "registering", "error": None, "owner_id": owner.id}
    statement = (
        insert(Dataset)
        .values(name=name, source=document, owner_id=owner.id)
        .on_conflict_do_update(
            index_elements=[Dataset.name], set_=again, where=Dataset.status == "failed"
        )
        .returning(Dataset)
    )
    dataset = session.scalars(
        statement, execution_options={"populate_existing": True}
    ).one_or_none()
    if dataset is None:
        raise NameTaken(f"there is already a dataset named {name}")
    job = Job(
        kind="dataset",
        owner=owner,
        dataset=dataset,
        project=None,
        name=f"register {name}",
        seed=0,
        spec={},
        hash="",
        device="cpu",
        packages=_packages(source),
        # Other jobs wait for it.
        priority=PRIORITIES.index("high"),
        timeout_seconds=TIMEOUT_SECONDS,
        trace_context=trace_context,
    )
    session.add(job)
    session.flush()
    record_created(session, [job], owner.name)
    return dataset, job


def _packages(source: DatasetSource) -> list[str]:
    installed = source.installed if isinstance(source, PluginData) else None
    return [] if installed is None else [str(installed)]


def mark_ready(session: Session, dataset_id: int, info: DatasetInfo) -> None:
    """Record that the data is decoded. Call it in the transaction that finishes the job, which is fenced."""
    document = info.model_dump(mode="json")
    session.execute(
        update(Dataset)
        .where(Dataset.id == dataset_id)
        .values(status="ready", info=document, error=None)
    )
    # The hash covers the data's digest, which is known only now.
    early = select(Job).where(Job.dataset_id == dataset_id, Job.kind == "training", Job.hash == "")
    for job in session.scalars(early):
        job.hash = content_hash(JobSpec.model_validate(job.spec), info.digest)


def lock_all_usable(session: Session, datasets: Iterable[Dataset]) -> dict[str, Dataset]:
    """The present rows, by name, locked until the commit; raises DatasetUnavailable."""
    # A registration that fails at this moment either sees the new jobs and ends them, or has failed before and
    # they are refused. Without the lock they would wait for data that never comes.
    by_id = {dataset.id: dataset for dataset in datasets}
    rows = [lock_usable(session, by_id[number]) for number in sorted(by_id)]
    return {row.name: row for row in rows}


def lock_usable(session: Session, dataset: Dataset) -> Dataset:
    """The current row, locked against changes until the transaction ends; raises DatasetUnavailable."""
    # A registration that fails meanwhile must see the jobs that are being made on it.
    statement = select(Dataset).where(Dataset.id == dataset.id).with_for_update(read=True)
    row = session.scalars(statement, execution_options={"populate_existing": True}).one_or_none()
    if row is None:
        raise DatasetUnavailable(f"dataset {dataset.name} was deleted")
    if row.status == "failed":
        raise DatasetUnavailable(f"dataset {row.name} could not be registered: {row.error}")
    return row


def prepare_retry(session: Session, job: Job) -> None:
    """Retrying a registration makes its dataset wait again; a training needs its dataset."""
    dataset = session.get_one(Dataset, job.dataset_id)
    if job.kind == "training":
        lock_usable(session, dataset)
    elif dataset.status == "failed":
        dataset.status, dataset.error = "registering", None
