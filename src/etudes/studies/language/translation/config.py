"""What the runs of the study may differ in."""

from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import at_least, positive, within
from etudes.optim.schedules import Schedule
from etudes.train import Adam


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "tatoeba-eng-fra"  # pairs of English and French sentences
    longest: Annotated[int, at_least(0)] = 8  # words and marks of a sentence; 0: any number
    descriptions: bool = True  # whether sentences begin as in the tutorial: I am, he is, they're ...
    pieces: Annotated[int, at_least(257)] = 700  # tokens of the byte-level BPE that both languages share
    joined: Annotated[int, at_least(2)] = 2  # sentences that the longest training examples are joined of
    tested: Annotated[int, at_least(1)] = 250  # test examples of each length; lengths go to one more than in training
    network: Literal["gru", "transformer"] = "gru"  # what reads and writes
    attention: Literal["none", "luong", "bahdanau"] = "luong"  # of the GRU
    reverse: bool = False  # whether sources are read from their end
    teacher: Annotated[float, within(0, 1)] = 1.0  # share of examples that go on from the true words, not the own ones
    embedding: Annotated[int, at_least(2)] = 48  # numbers in a token's vector, and the transformer's width
    width: Annotated[int, at_least(2)] = 64  # units of the GRU that writes
    heads: Annotated[int, at_least(1)] = 4  # of the transformer
    layers: tuple[int, int] = (2, 1)  # of the transformer that read, and that write
    dropout: Annotated[float, within(0, 1)] = 0.0  # share of vectors' numbers set to zero in training
    beam: Annotated[int, at_least(1)] = 5  # translations that the beam search keeps
    clip: Annotated[float, positive] = 1.0  # largest norm of a gradient
    batch: Annotated[int, at_least(1)] = 32  # examples a step, over all processes together
    lr: Annotated[float, positive] = 1e-2  # peak learning rate
    faster: Annotated[float, positive] = 1.0  # what the peak learning rate is multiplied by
    schedule: Schedule = "warmup"  # learning rate over the steps
