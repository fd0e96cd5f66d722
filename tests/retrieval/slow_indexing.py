"""Indexes a long document slowly, and says when each part of it is written: to be killed."""

import sys
import time

from etudes.retrieval.documents import Document
from etudes.retrieval.embedders import HashingEmbedder
from etudes.retrieval.index import Index

index = Index(sys.argv[1], HashingEmbedder(), 16, 0)
index.add(Document("short.txt", "short", "A short text about cats."))
print("ready", flush=True)


def watch(done, chunks):
    print(done, flush=True)
    time.sleep(0.5)


index.add(Document("long.txt", "long", "some words about dogs and more. " * 600), watch)
