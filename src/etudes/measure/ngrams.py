"""What an n-gram model of the training text would have predicted: the baseline of language networks."""

import numpy as np

from etudes.core.errors import Problem


def ngrams(train: np.ndarray, test: np.ndarray, vocabulary: int, orders: int) -> np.ndarray:
    """Probability that the n-gram models n = 1 .. orders of the train tokens gave to each of the test tokens but the
    first, float64 [orders, tokens - 1].

    train, test: integers [n] in [0, vocabulary). An n-gram model sees the n - 1 tokens before (in test's first ones,
    those there are). Counts are interpolated with the next shorter context by Witten and Bell's rule: with c tokens
    seen after a context, and d different ones among them, p_n = (c * share + d * p_{n-1}) / (c + d), down to the
    uniform distribution; a context never seen has p_{n-1} (Witten and Bell 1991, "The zero-frequency problem", method
    C; Chen and Goodman 1999, section 2.5). Raises Problem on impossible orders and empty texts.
    """
    if orders < 1 or len(train) < 2 or len(test) < 2:
        raise Problem(f"an n-gram model needs n of 1 or more and two tokens or more, not {orders} and {len(train)}")
    tokens = np.concatenate([train, test]).astype(np.int64)
    learnt = np.arange(1, len(train))  # the tokens that are counted, by their places
    asked = np.arange(len(train) + 1, len(tokens))
    begin = np.where(np.arange(len(tokens)) < len(train), 0, len(train))
    context = np.zeros(len(tokens), np.int64)  # an id of the n - 1 tokens before each place, the same for the same
    found = np.full((orders + 1, len(asked)), 1 / vocabulary)
    for n in range(1, orders + 1):
        _, gram = np.unique(context * vocabulary + tokens, return_inverse=True)  # the context and the token
        size, grams = context.max() + 1, gram.max() + 1
        of_gram = np.bincount(gram[learnt], minlength=grams)
        of_context = np.bincount(context[learnt], minlength=size)
        inside = np.zeros(grams, np.int64)  # the context of each gram
        inside[gram] = context
        different = np.bincount(inside[of_gram > 0], minlength=size)
        c, d = of_context[context[asked]], different[context[asked]]
        shorter = found[n - 1]
        found[n] = np.where(c > 0, (of_gram[gram[asked]] + d * shorter) / np.maximum(c + d, 1), shorter)
        # The next context at a place is what stood at the place before it: its context and its token.
        longer = np.empty_like(gram)
        longer[0], longer[1:] = grams, gram[:-1]
        longer[np.arange(len(tokens)) == begin] = grams  # nothing is before a text
        context = longer
    return found[1:]
