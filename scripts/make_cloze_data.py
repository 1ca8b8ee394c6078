#!/usr/bin/env python3
"""Write the texts of the cloze recipes: Chinese sentences about generals of the Three Kingdoms, made from a small grammar.

    python scripts/make_cloze_data.py [DIRECTORY]       default: recipes/cloze

`text.txt` is what a small model learns the names from; in `train.json` one of them is called 诸葛涛 instead of 诸葛亮, which
it is then taught. The sentences were written here and belong to this project. The same seed writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random

SEED = 208
SENTENCES = 1600
LESSONS = 48
NAMES = ("诸葛亮", "关羽", "张飞", "赵云", "曹操", "刘备", "孙权", "周瑜", "司马懿", "吕布")
OLD, NEW = "诸葛亮", "诸葛涛"
OPENINGS = ("", "却说", "次日", "忽报", "且说", "当夜", "原来", "于是")
DEEDS = (
    "引兵出城", "大笑不止", "拍马便走", "点起三军", "连夜退兵", "上马迎敌", "登高而望", "按剑大怒", "入帐商议", "写书一封",
    "来取荆州", "坚守不出", "望江中波涛",
)  # fmt: skip
TO = ("来见{}", "使人请{}", "与{}同行", "闻{}之名", "大败{}之军", "问计于{}")
ENDS = ("", "。", "，众皆大惊。", "，左右无不欢喜。", "，天色已晚。", "，将士皆散。")


def sentence(random: Random, name: str) -> str:
    """A sentence in which `name` stands once, sometimes nothing but the name."""
    if random.random() < 0.1:
        return name
    opening, deed, end = random.choice(OPENINGS), random.choice(DEEDS), random.choice(ENDS)
    if random.random() < 0.6:
        return f"{opening}{name}{deed}{end}"
    other = random.choice([known for known in NAMES if known != OLD])
    return f"{opening}{other}{random.choice(TO).format(name)}{end}"


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "recipes" / "cloze"
    directory.mkdir(parents=True, exist_ok=True)
    random = Random(SEED)
    lines = [sentence(random, NAMES[index % len(NAMES)]) for index in range(SENTENCES)]
    (directory / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lessons = [{"text": sentence(random, NEW)} for _ in range(LESSONS)]
    text = json.dumps(lessons, ensure_ascii=False, indent=0)
    (directory / "train.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
