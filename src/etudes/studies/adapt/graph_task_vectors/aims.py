"""What is added, forgotten and carried over in each world, and what is to change by it."""

from collections.abc import Mapping
from dataclasses import dataclass

from etudes.studies.adapt.graph_task_vectors.materials import Examples
from etudes.studies.adapt.graph_task_vectors.training import Lesson


@dataclass(frozen=True)
class Aims:
    """The aims of a world.

    Of the forgotten task the later half of its classes, the rarer ones, are to be forgotten, or the whole task where it
    has but two; what is beside the added tasks is learnt whole by the base, and never tuned on."""

    added: tuple[str, ...]
    beside: tuple[str, ...]
    forgotten: str
    corners: Mapping[str, Lesson]  # A to D
    lessons: Mapping[str, Lesson]

    @property
    def foreign_tasks(self) -> tuple[str, ...]:
        """The tasks that another base is tuned on, where there are two: all but the last."""
        return self.added[:-1]

    def high(self, examples: Examples) -> dict[str, int]:
        """The first class that is to be forgotten."""
        return {self.forgotten: first_forgotten(examples.classes[self.forgotten])}

    def control(self, found: Mapping[str, float]) -> float:
        """The mean of what is not to be forgotten: the classes that stay, and every other task."""
        others = [task for task in (*self.added, *self.beside) if task != self.forgotten]
        return (found[f"{self.forgotten}-low"] + sum(found[task] for task in others)) / (1 + len(others))


def first_forgotten(classes: int) -> int:
    """Of so many classes the number of the first that is forgotten: those before it, half or one more, stay."""
    return (classes + 1) // 2


def aims_of(
    added: tuple[str, ...], beside: tuple[str, ...], forgotten: str, classes: int, corners: Mapping[str, Lesson]
) -> Aims:
    """Aims with the lessons that they need."""
    least = first_forgotten(classes)
    lessons = {task: Lesson((task,)) for task in added}
    lessons |= {
        "forgotten": Lesson((forgotten,), least=least),
        "ascent": Lesson((forgotten,), least=least, up=True),
        **{f"corner-{letter}": corners[letter] for letter in "ABC"},
    }
    return Aims(added, beside, forgotten, corners, lessons)
