"""What a person may type for a job or a study."""

import pytest

import normlab
from normlab.client.ids import Reference
from normlab.errors import NormlabError


@pytest.mark.parametrize("text", ["j12", "12", 12, "job/12", "jobs/12", " j12 "])
def test_a_job_has_several_names(text: str | int) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.path) == ("j12", "jobs/12")


@pytest.mark.parametrize("text", ["s3", "study/3", "studies/3"])
def test_a_study_has_several_names(text: str) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.path) == ("s3", "studies/3")


@pytest.mark.parametrize("text", ["", "x3", "j", "j-1", "s3/jobs", "../3", "9" * 40])
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(NormlabError, match=r"neither a job \(j12\) nor a study \(s3\)"):
        Reference.parse(text)


@pytest.mark.parametrize("text", ["s3", "3", " 3 ", 3, Reference("study", 3)])
def test_where_only_a_study_makes_sense_a_bare_number_is_one(text: Reference | str | int) -> None:
    assert Reference.study(text) == Reference("study", 3)


@pytest.mark.parametrize("text", ["j3", Reference("job", 3)])
def test_a_job_is_never_taken_for_a_study(text: Reference | str) -> None:
    with pytest.raises(NormlabError, match=r"j3 is a job, but this takes a study \(s3\)"):
        Reference.study(text)


@pytest.mark.parametrize("name", normlab.__all__)
def test_each_public_name_can_be_imported(name: str) -> None:
    assert getattr(normlab, name).__name__ == name
