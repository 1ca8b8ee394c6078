"""What a key decides: each says so in its section, and whatever depends on it is worked out from there.

class Train(Section):
    decides = Decides("training")                       # every key of the section, unless it says otherwise
    compile: Annotated[bool, Decides("execution")]      # this one
"""

from __future__ import annotations

from typing import Literal, get_args

Subject = Literal[
    "contents", "tokens", "training", "evaluation", "execution", "tracking", "identity", "nothing"
]

MEANINGS: dict[Subject, str] = {
    "contents": "which tokens are seen, by what the named files or models hold, whatever they are called",
    "tokens": "which tokens are seen: tokenised data are kept under these values",
    "training": "the mathematics of training: another value makes other weights",
    "evaluation": "what is measured and shown, and which checkpoint is the best",
    "execution": "how the job runs: machines, memory, speed, saving; the mathematics stay the same",
    "tracking": "what Weights & Biases shows",
    "identity": "which run this is and where it lies; the plan's id doesn't depend on it",
    "nothing": "nothing: it is for people to read",
}
"""What each subject means, in the words of docs/keys.md."""


class Decides:
    """What a key, or every key of a section, decides."""

    def __init__(self, *subjects: Subject) -> None:
        if not subjects or not set(subjects) <= set(get_args(Subject)):
            raise TypeError(f"a key decides one or more of {', '.join(MEANINGS)}; not {subjects}")
        self.subjects = subjects
