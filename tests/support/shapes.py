"""Data files as people have them, small and of many shapes, each with what it is for."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

GOOD = ("lovely", "moving", "clever", "warm", "bright", "funny", "tender", "superb", "fresh", "honest")
BAD = ("dull", "cold", "tired", "awful", "clumsy", "stale", "boring", "weak", "empty", "crude")
PLAIN = ("the", "of", "and", "film", "story", "scene", "music", "ending", "was", "is", "with", "it")
ROWS = 120


class Shape(NamedTuple):
    """How the lines of a file are made, and what is to be found in them."""

    lines: Callable[[random.Random], Iterator[str]]
    found: dict[str, Any]
    """Key -> the value that a recipe for these data has."""


def text(draw: random.Random, good: object, words: int = 8) -> str:
    """A sentence of English words, three of which say whether it is good."""
    some = [draw.choice(GOOD if good else BAD) for _ in range(3)] + [draw.choice(PLAIN) for _ in range(words)]
    draw.shuffle(some)
    return " ".join(some)


def no_header(draw: random.Random) -> Iterator[str]:
    for n in range(ROWS):
        yield f"{'pos' if n % 2 else 'neg'}\t{text(draw, n % 2)}"


def pairs(draw: random.Random) -> Iterator[str]:
    yield "pair,premise,hypothesis,gold_label"
    for n in range(ROWS):
        name = ("entailment", "neutral", "contradiction")[n % 3]
        yield f"p{n},{text(draw, n % 2)},{text(draw, n // 2 % 2)},{name}"


def numbers(draw: random.Random) -> Iterator[str]:
    yield "id,comment,score"
    for n in range(ROWS):
        yield f"{n},{text(draw, n % 2)},{draw.random() * 4 + n % 2:.2f}"


def stars(draw: random.Random) -> Iterator[str]:
    yield "review_id,date,review,stars"
    for n in range(ROWS):
        yield f"R{n:05d},2020-01-{n % 28 + 1:02d},{text(draw, n % 5 > 2)},{n % 5 + 1}"


def quoted_lines(draw: random.Random) -> Iterator[str]:
    yield '"Ticket";"Department";"Message"'
    for n in range(ROWS):
        message = f'Dear ""team"";\n{text(draw, n % 2)},\n\nyours {n}'
        yield f'"T-{n}";"{("billing", "repair")[n % 2]}";"{message}"'


def written_stars(draw: random.Random) -> Iterator[str]:
    yield "question,answer,rating"
    for n in range(ROWS):
        yield f"{text(draw, 1)},{text(draw, n % 5 > 2)},{n % 5 + 1}/5"


def entities(draw: random.Random) -> Iterator[str]:
    for n in range(ROWS):
        words = (
            "Anna",
            "met",
            "Bob",
            "in",
            draw.choice(("Paris", "Rome", "Oslo")),
            draw.choice(GOOD),
            str(n),
        )
        yield from (
            f"{w} {t}" for w, t in zip(words, ("B-PER", "O", "B-PER", "O", "B-LOC", "O", "O"), strict=True)
        )
        yield ""


def squad(draw: random.Random) -> Iterator[str]:
    articles = []
    for n in range(60):
        author = draw.choice(("Mary Shelley", "Jane Austen", "Emily Bronte"))
        context = f"The {draw.choice(GOOD)} novel number {n} was written by {author} in 18{n % 90 + 10}."
        answer = {"text": author, "answer_start": context.index(author)}
        question = {"id": str(n), "question": f"Who wrote novel number {n}?", "answers": [answer]}
        articles.append({"title": f"t{n % 12}", "paragraphs": [{"context": context, "qas": [question]}]})
    yield json.dumps({"version": "1.1", "data": articles})


def flags(draw: random.Random) -> Iterator[str]:
    yield "id,comment_text,toxic,insult,threat"
    for n in range(ROWS):
        yield f"{n},{text(draw, n % 2)},{n % 2},{int(n % 3 == 0)},{int(n % 7 == 0)}"


def topics(draw: random.Random) -> Iterator[str]:
    yield "headline,topics"
    for n in range(ROWS):
        some = sorted(draw.sample(("sport", "politics", "art", "money"), draw.choice((1, 1, 2, 3))))
        yield f"{text(draw, n % 2)},{';'.join(some)}"


def chinese(draw: random.Random) -> Iterator[str]:
    yield "content,label"
    for n in range(ROWS):
        said = "".join(draw.choice("好棒美优" if n % 2 else "差坏烂糟") for _ in range(4))
        yield f"这家酒店的房间{said}。服务也{said}。{n},{'正面' if n % 2 else '负面'}"


def nested(draw: random.Random) -> Iterator[str]:
    for n in range(ROWS):
        data = {"text": text(draw, n % 2)}
        label = {"label": ("neg", "pos")[n % 2], "by": f"annotator {n % 3}"}
        yield json.dumps({"meta": {"id": n, "source": "web"}, "data": data, "annotation": label})


def choices(draw: random.Random) -> Iterator[str]:
    for n in range(ROWS):
        of = [f"{draw.choice(GOOD)} wood", f"{draw.choice(BAD)} iron", "fine sand", "soft clay"]
        yield json.dumps(
            {"question": f"What is number {n} made of, do you think?", "choices": of, "answer": n % 4}
        )


def ranking(draw: random.Random) -> Iterator[str]:
    yield "query\tdocument\trelevance"
    for n in range(ROWS):
        yield f"who wrote the {GOOD[n // 5 % 10]} number {n // 5}\t{text(draw, n % 5 == 0)}\t{2 * (n % 5 == 0)}"


def semicolons(draw: random.Random) -> Iterator[str]:
    yield "message;intent"
    for n in range(ROWS):
        yield f"{text(draw, n % 2)};{('greet', 'order', 'cancel', 'refund')[n % 4]}"


def tweets(draw: random.Random) -> Iterator[str]:
    yield "tweet_id,airline_sentiment,airline_sentiment_confidence,airline,text,tweet_created"
    for n in range(ROWS):
        kind = ("negative", "neutral", "positive")[n % 3]
        when = f"2015-02-{n % 28 + 1:02} 11:35:{n % 60:02} -0800"
        yield f"{n},{kind},{draw.random():.4f},{('United', 'Delta')[n % 2]},{text(draw, n % 3)},{when}"


def star_signs(draw: random.Random) -> Iterator[str]:
    yield "review,rating"
    for n in range(ROWS):
        yield f"{text(draw, n % 5 > 2)},{'★' * (n % 5 + 1)}{'☆' * (4 - n % 5)}"


def named_choices(draw: random.Random) -> Iterator[str]:
    for n in range(ROWS):
        choices = [{"label": letter, "text": draw.choice(GOOD)} for letter in "ABCD"]
        row = {
            "id": n,
            "question": {"stem": text(draw, n % 2), "choices": choices},
            "answerKey": "ABCD"[n % 4],
        }
        yield json.dumps(row)


def listed_choices(draw: random.Random) -> Iterator[str]:
    for n in range(ROWS):
        choices = {"text": [text(draw, n % 2, 3) for _ in "ABCD"], "label": list("ABCD")}
        yield json.dumps({"question": text(draw, n % 2), "choices": choices, "answerKey": "ABCD"[n % 4]})


SHAPES: dict[str, Shape] = {
    "noheader.tsv": Shape(
        no_header,
        {
            "task": "classification",
            "data.text": "text",
            "data.label": "label",
            "data.columns": ["label", "text"],
        },
    ),
    "pairs.csv": Shape(
        pairs,
        {"task": "classification", "data.text": ["premise", "hypothesis"], "data.label": "gold_label"},
    ),
    "numbers.csv": Shape(numbers, {"task": "regression", "data.text": "comment", "data.label": "score"}),
    "stars.csv": Shape(stars, {"task": "ordinal", "data.text": "review", "data.label": "stars"}),
    "feedback.csv": Shape(
        quoted_lines,
        {
            "task": "classification",
            "data.text": "Message",
            "data.label": "Department",
            "data.delimiter": ";",
        },
    ),
    "answers.csv": Shape(
        written_stars,
        {
            "task": "ordinal",
            "data.text": ["question", "answer"],
            "data.label": "rating",
            "data.labels": ["1/5", "2/5", "3/5", "4/5", "5/5"],
        },
    ),
    "entities.txt": Shape(
        entities,
        {"task": "token-classification", "data.format": "conll", "data.text": "text", "data.label": "label"},
    ),
    "squad.json": Shape(
        squad,
        {"task": "question-answering", "data.text": ["question", "context"], "data.group": "title"},
    ),
    "flags.csv": Shape(
        flags,
        {"task": "multilabel", "data.text": "comment_text", "data.label": ["toxic", "insult", "threat"]},
    ),
    "topics.csv": Shape(
        topics,
        {"task": "multilabel", "data.text": "headline", "data.label": "topics", "data.label_delimiter": ";"},
    ),
    "chinese.csv": Shape(
        chinese,
        {"task": "classification", "data.text": "content", "model.name": "google-bert/bert-base-chinese"},
    ),
    "nested.jsonl": Shape(
        nested,
        {"task": "classification", "data.text": "data.text", "data.label": "annotation.label"},
    ),
    "choices.jsonl": Shape(
        choices,
        {
            "task": "multiple-choice",
            "data.text": "question",
            "data.choices": "choices",
            "data.label": "answer",
        },
    ),
    "tweets.csv": Shape(
        tweets, {"task": "classification", "data.text": "text", "data.label": "airline_sentiment"}
    ),
    "starsigns.csv": Shape(
        star_signs,
        {
            "task": "ordinal",
            "data.text": "review",
            "data.label": "rating",
            "data.labels": ["★☆☆☆☆", "★★☆☆☆", "★★★☆☆", "★★★★☆", "★★★★★"],
        },
    ),
    "named-choices.jsonl": Shape(
        named_choices,
        {
            "task": "multiple-choice",
            "data.text": "question.stem",
            "data.choices": "question.choices",
            "data.label": "answerKey",
        },
    ),
    "listed-choices.jsonl": Shape(
        listed_choices,
        {
            "task": "multiple-choice",
            "data.text": "question",
            "data.choices": "choices.text",
            "data.label": "answerKey",
        },
    ),
    "ranking.tsv": Shape(
        ranking,
        {"task": "ranking", "data.text": ["query", "document"], "ranking.max_relevance": 2.0},
    ),
    "semicolons.csv": Shape(
        semicolons,
        {"task": "classification", "data.delimiter": ";", "data.text": "message", "data.label": "intent"},
    ),
}


def write_shape(name: str, directory: Path) -> Path:
    """The file of this name, the same every time."""
    path = directory / name
    path.write_text("".join(f"{line}\n" for line in SHAPES[name].lines(random.Random(1))), encoding="utf-8")
    return path
