"""What technical words mean, in a sentence or two, and marks at their first use in a page."""

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import markupsafe


@dataclass(frozen=True)
class Term:
    """A word, what it means, and in which other forms it is met."""

    name: str
    says: str
    forms: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


TERMS = (
    # of verdicts
    Term("supported", "The seeds show that the claim's number lies where the paper puts it. At most 5 % of studies "
         "have a false verdict of this kind."),
    Term("refuted", "The seeds show that the claim's number lies outside of where the paper puts it, at this scale."),
    Term("negligible", "The seeds show that the difference, if any, is smaller than the margin that was named before: "
         "too small to matter."),
    Term("undecided", "The seeds that were run can tell neither. That says nothing against the claim: the interval "
         "holds numbers on both sides, and more seeds may decide it.", ("not decided",)),
    Term("not judged", "The claim has no verdict, for a reason that is told, such as too few seeds or other settings."),
    Term("claim", "A sentence of the paper that a number can decide, written down before the runs: the number, and "
         "the range where the paper puts it.", ("claims",)),
    Term("margin", "The size below which a difference is too small to matter, named before the runs.", ("margins",)),
    Term("interval", "Where the mean over many seeds may lie, by the seeds at hand. It is as wide as the claim's own "
         "test asks for, so it excludes the end of the expected range exactly where the verdict is decided."),
    Term("p", "How probable numbers so far from the range's end would be, were the true one on it; corrected for all "
         "claims and looks. A small p speaks for the verdict that is shown."),
    Term("seed", "The number that all draws of a run come from: first weights, order, noise. Another seed is another "
         "independent try of the same experiment.", ("seeds",)),
    Term("paired", "Two variants are compared under the same seed, with the same data, order and draws, so that what "
         "they share cancels in their difference."),
    Term("power", "How probable it is that a difference of a given size is seen by so many seeds."),
    Term("look", "A number of seeds at which the claims are judged. Each look spends a part of the error.", ("looks",)),
    Term("registered", "Claims, margins and seeds were written down before the first judged run."),
    Term("standard deviation", "How far the seeds' numbers typically lie from their mean.", ("deviation",)),
    # of pictures and their networks
    Term("test error", "The share of pictures that the network has not seen in training and classifies wrongly.",
         ("test errors",)),
    Term("training error", "The share of the training pictures, with the labels that it was trained on, that the "
         "network classifies wrongly."),
    Term("cross entropy", "The mean of -log p, p being the probability that the network gives the right answer: 0 is "
         "perfect. The usual loss of a classifier."),
    Term("batch normalisation", "A layer that brings each channel to mean 0 and deviation 1 over the batch."),
    Term("dropout", "In each training step a random share of the numbers inside the network is set to 0."),
    Term("weight decay", "In each step all weights shrink by a small share."),
    Term("augmentation", "Each training picture is changed at random, as by a mirror or a shift, each time it is "
         "seen."),
    Term("calibration", "Whether a network that says 80 % is right in 80 % of such cases.", ("calibrated",)),
    Term("ERM", "Empirical risk minimisation: plain training, which lowers the mean loss of the training pictures."),
    Term("mixup", "Training on blends of two pictures, with the same blend of their labels."),
    Term("proxy", "A small, cheap network that stands in for a large one."),
    Term("entropy", "How spread out a prediction is: 0 where one class has all the probability."),
    Term("rank correlation", "How alike two orders are: 1 is the same order, 0 no relation, -1 the reverse.",
         ("Spearman's correlation",)),
    Term("momentum", "Each step goes on with a share of the one before.", ("heavy-ball momentum",)),
    Term("learning rate", "How far a step of training goes.", ("learning rates", "step size")),
    Term("sharpness", "The largest eigenvalue of the loss's second derivatives (its Hessian): how strongly the loss "
         "curves in the direction where it curves most. Gradient descent with step size s is stable on a curve of "
         "sharpness up to 2 / s."),
    # of generated pictures
    Term("Fréchet distance", "How far apart two sets of pictures are, by the means and covariances of what a "
         "classifier's last hidden layer makes of them: 0 where these are the same.", ("Fréchet distances", "Fréchet")),
    Term("diffusion", "A network learns to take noise out of pictures, and makes new ones from pure noise, step by "
         "step."),
    Term("SDEdit", "Noise is put on a rough picture, and diffusion takes it out again: the more noise, the freer."),
    Term("DDIM", "A way to take out noise that draws nothing on its way, and so gets by with few steps.", ()),
    Term("ancestral sampling", "Taking out noise step by step with a fresh draw in each.", ("ancestral",)),
    # of texts
    Term("bits per byte", "How many bits a network needs for each byte of a text, were it used to compress it: 8 is "
         "no idea, less is better.", ()),
    Term("token", "What a network reads at once: a character, a word, or a piece of one.", ("tokens",)),
    Term("unigram", "A baseline that knows how frequent each character or word is, and nothing else."),
    Term("beam search", "Keeping the best few beginnings at each step, in place of the best one alone.", ("beam",)),
    Term("nucleus", "The most probable next tokens that together have a given share of the probability."),
    Term("temperature", "Below 1 the probable tokens are drawn more often than the network says, above 1 less."),
    Term("LSTM", "A recurrent network whose gates decide what its cells keep, forget and show."),
    Term("GRU", "A recurrent network with two gates, simpler than an LSTM."),
    Term("layer normalisation", "A layer's numbers for one example are brought to mean 0 and deviation 1."),
    Term("AUROC", "The area under the ROC curve: how probable it is that a score ranks one of the first kind above one "
         "of the second. 1 is perfect, 0.5 is chance.", ("area under the ROC curve",)),
    # of search
    Term("nDCG@5", "How good the first five of a ranking are, where a right one counts more the further in front it "
         "stands: 1 is perfect.", ("nDCG",)),
    Term("precision at 1", "The share of documents for which the first label found is right.", ()),
    Term("recall at 10", "The share of the right labels that are among the first ten found.", ()),
    Term("recall", "The share of what should be found that is found."),
    Term("reciprocal rank", "1 for a right answer in the first place, 1/2 in the second, 1/3 in the third, and so on."),
    Term("BM25", "A ranking of passages by the words that they share with the question, rare words counting more."),
    Term("dense retrieval", "A ranking of passages by the nearness of their meaning, as vectors, to the question's.",
         ()),
    Term("late interaction", "A ranking that compares every token of the question with every token of a passage."),
    Term("k-means", "Groups are formed around centres, each thing in the group of the nearest centre."),
    # of agents
    Term("Q-learning", "Learning what each action is worth, from the reward that came and the worth of what followed.",
         ("deep Q-learning",)),
    Term("replay memory", "Past steps of play that training draws from at random, again and again."),
    Term("target network", "An older copy of the network, from which the targets of learning come."),
)  # fmt: skip


BUTTON = '<button type="button" class="term" popovertarget="term-{}">{}</button>'


@functools.cache
def _pattern() -> re.Pattern[str]:
    forms = [form for term in TERMS for form in (term.name, *term.forms)]
    longest = sorted(forms, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest))})(?![\w-])", re.IGNORECASE)


@functools.cache
def _by_form() -> dict[str, Term]:
    return {form.lower(): term for term in TERMS for form in (term.name, *term.forms)}


def first_uses(text: str, known: list[Term]) -> list[tuple[str, Term | None]]:
    """The text in parts, each with the term that it is the first use of. `known` are those met before, and grows."""
    parts: list[tuple[str, Term | None]] = []
    end = 0
    for found in _pattern().finditer(text):
        term = _by_form()[found[0].lower()]
        if term in known or (term.name in ("p", "ERM") and found[0] != term.name):
            continue
        known.append(term)
        parts += [(text[end : found.start()], None), (found[0], term)]
        end = found.end()
    return [(part, term) for part, term in [*parts, (text[end:], None)] if part]


@dataclass
class Marker:
    """Text as HTML, escaped, in which the first use of each technical word is a button that opens its meaning, and what
    stands between backticks is code. A page has one, and at its end `met`, the terms that it marked."""

    met: list[Term] = field(default_factory=list)

    def __call__(self, text: str) -> "markupsafe.Markup":
        import markupsafe

        found = markupsafe.Markup()
        text = re.sub(
            r"\[([^\s\],]+), ([^\s\],]+)\]", "[\\1,\N{NO-BREAK SPACE}\\2]", text
        )  # an interval stays on one line
        for i, stretch in enumerate(re.split(r"`([^`]+)`", text)):
            if i % 2:
                found += markupsafe.Markup("<code>{}</code>").format(stretch)
                continue
            for part, term in first_uses(stretch, self.met):
                found += markupsafe.Markup(BUTTON).format(term.slug, part) if term else markupsafe.escape(part)
        return found
