"""What is compared, by name; and which of it each scale and chart has."""

from etudes.core import Variant

CATS, SKETCHES = {"target": "cats"}, {"target": "far"}
LAST, TWO, THREE, ALL = ({"depth": depth} for depth in (1, 2, 3, 9))
ONE, TENTH, HALF = ({"share": share} for share in (0.01, 0.1, 0.5))
PSEUDO = {"unlabelled": "pseudo"}
ALIGNED = PSEUDO | {"threshold": 0.0, "aligned": True}
STATISTICS = {"norms": "statistics"}
SECTIONS = {
    "All labels, by what is trained": ("head", "last", "last-two", "last-three"),
    "One label a class": ("one-head", "one", "one-aligned", "one-any"),
    "A tenth of the labels": ("tenth-head", "tenth", "tenth-aligned"),
    "Half of the labels": ("half-head", "half", "half-aligned"),
}
CHOICES = {
    "Learning rates of two stages": ("last-two", "last-two-same", "last-two-gradual"),
    "Norms of two stages": ("norms-frozen", "norms-statistics", "norms-both"),
    "Losses": ("logistic", "margin"),
    "All norms' statistics": ("head", "head-adapted", "sketches", "sketches-adapted"),
    "Changed pictures, a tenth of the labels": ("tenth", "tenth-small", "tenth-large"),
    "A deeper network": ("deeper-head", "deeper-last-two"),
}
PETS_SECTION = {"Three breeds, the head alone": ("cats-adam", "cats-nag", "cats-half", "cats-quarter")}
VARIANTS = (
    Variant("cats-adam", CATS, "cat or dog: the head alone, by Adam"),
    Variant("cats-nag", CATS | {"optimiser": "nag"}, "the same by SGD with Nesterov's momentum"),
    Variant("cats-half", CATS | {"shrink": 2}, "as cats-adam, of pictures of half the pixels a side"),
    Variant("cats-quarter", CATS | {"shrink": 4}, "as cats-adam, of a quarter"),
    Variant("head", {}, "many classes: the head alone, by Adam"),
    Variant("head-nag", {"optimiser": "nag"}, "the same by SGD with Nesterov's momentum"),
    Variant("last", LAST, "the last stage and the head"),
    Variant("last-two", TWO, "the last two stages and the head"),
    Variant("last-three", THREE, "the last three stages and the head"),
    Variant("all", ALL, "all stages and the head"),
    Variant("last-two-same", TWO | {"decay": 1.0}, "as last-two, with one rate for both stages"),
    Variant("last-two-gradual", TWO | {"gradual": True}, "as last-two, the lower stage resting at first"),
    Variant("norms-frozen", TWO | {"norms": "frozen"}, "as last-two, its norms' scales and shifts frozen too"),
    Variant("norms-statistics", TWO | STATISTICS, "as norms-frozen, but their statistics follow the batches"),
    Variant("norms-both", TWO | {"norms": "both"}, "as last-two, its norms' statistics follow the batches too"),
    Variant("head-adapted", {"norms": "adapted"}, "as head, all norms' statistics replaced by those of the pictures"),
    Variant("head-statistics", STATISTICS | {"everywhere": True}, "as head, all norms' statistics follow the batches"),
    Variant("logistic", TWO | {"loss": "logistic"}, "as last-two, by binary cross-entropies of all classes"),
    Variant("margin", TWO | {"loss": "margin"}, "as last-two, by the loss of a multi-class support vector machine"),
    Variant("augment-small", TWO | {"augment": "small"}, "as last-two: mirrored, a little turned, moved, scaled"),
    Variant("augment-large", TWO | {"augment": "large"}, "as last-two: more of it, sheared, and light and colour"),
    Variant("deeper-head", {"deep": True}, "as head, of a deeper network"),
    Variant("deeper-last-two", TWO | {"deep": True}, "as last-two, of a deeper network"),
    Variant("sketches", SKETCHES, "sketches: the head alone"),
    Variant("sketches-adapted", SKETCHES | {"norms": "adapted"}, "and all norms' statistics replaced beforehand"),
    Variant("sketches-statistics", SKETCHES | STATISTICS | {"everywhere": True}, "sketches: head and all statistics"),
    Variant("sketches-parameters", SKETCHES | {"everywhere": True}, "sketches: the head and all scales and shifts"),
    Variant("sketches-both", SKETCHES | {"norms": "both", "everywhere": True}, "sketches: the head, and both"),
    Variant("half", TWO | HALF, "as last-two, half of the labels"),
    Variant("tenth", TWO | TENTH, "as last-two, a tenth of the labels"),
    Variant("one", TWO | ONE, "as last-two, one label a class"),
    Variant("one-head", ONE, "as head, one label a class"),
    Variant("half-head", HALF, "as head, half of the labels"),
    Variant("tenth-head", TENTH, "as head, a tenth of the labels"),
    Variant("tenth-small", TWO | TENTH | {"augment": "small"}, "as tenth: mirrored, a little turned, moved, scaled"),
    Variant("tenth-large", TWO | TENTH | {"augment": "large"}, "as tenth: more of it, sheared, and light and colour"),
    Variant("half-aligned", HALF | ALIGNED, "as half-head, with aligned pseudo-labels for the rest"),
    Variant("tenth-aligned", TENTH | ALIGNED, "as tenth-head, with aligned pseudo-labels for the rest"),
    Variant("one-aligned", ONE | ALIGNED, "as one-head, with aligned pseudo-labels for the rest"),
    Variant("one-sure", ONE | PSEUDO, "as one-aligned, not aligned, those of 0.95 alone (FixMatch's threshold)"),
    Variant("one-any", ONE | PSEUDO | {"threshold": 0.0}, "as one-aligned, but not aligned"),
    Variant("tenth-consistency", TENTH | ALIGNED | {"unlabelled": "consistency"}, "and learnt on changed pictures"),
)

COSTLY = ("all", "head-statistics", "sketches-statistics", "sketches-parameters", "sketches-both")
BRIEF = tuple(
    v.name for v in VARIANTS if v.name not in (*COSTLY, "augment-small", "augment-large", "tenth-consistency")
)
PETS = tuple(v.name for v in VARIANTS if not v.name.startswith("sketches"))
FIRST = ("cats-adam", "cats-nag", "head", "last", "last-two", "all", "head-adapted", "tenth")
