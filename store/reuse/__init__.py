"""Work once: a job is answered by an equal one that has succeeded, or waits for one that runs."""

from store.reuse import answers
from store.reuse.equal import Answers, Asked, Offer, Source, for_study, match
from store.reuse.submissions import find_answers, note_answers

__all__ = [
    "Answers",
    "Asked",
    "Offer",
    "Source",
    "answers",
    "find_answers",
    "for_study",
    "match",
    "note_answers",
]
