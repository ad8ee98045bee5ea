"""The descriptions of runs: what people have typed is text in them."""

from store.mlflow import mirror
from tests.support.mirrored import ProjectRows
from worker.mirror.notes import job_note, study_note

TYPED = "<img src=x onerror=alert(1)> [more](javascript:alert(1)) `code` *bold*"
SHOWN = r"\<img src=x onerror=alert(1)\> \[more\](javascript:alert(1)) \`code\` \*bold\*"


def test_what_people_have_typed_is_no_markup(project_rows: ProjectRows) -> None:
    study = project_rows.add_study(name=TYPED, description=TYPED)
    job = project_rows.add_finished_job(study=study, variant=TYPED)
    project_rows.change(job, warnings=[TYPED], error="```\n" + TYPED)
    with project_rows.sessions.begin() as session:
        of_study = study_note(mirror.read_study(session, study), None)
        of_job = job_note(mirror.read_jobs(session, [job])[0])
    assert of_study.count(SHOWN) == 2
    # Beside what an error says, which stands in a block of code.
    before, block = of_job.split("```\n", 1)
    assert before.count(SHOWN) == 3
    assert TYPED not in before
    assert block.endswith("\n```")
