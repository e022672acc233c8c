"""Writes a few records of sets in their published formats, with what a shot of the first must look like."""

import json
from pathlib import Path
from typing import Any

from palmetto.files import write_text


def lines(*records: Any) -> str:
    return "\n".join(json.dumps(record) for record in records)


def exam(question: str, texts: list[str], answer: str, letters: str = "ABCD") -> dict[str, Any]:
    choices = [{"label": letter, "text": text} for letter, text in zip(letters, texts, strict=False)]
    return {"id": "1", "question": {"stem": question, "choices": choices}, "answerKey": answer}


MULTIRC = {
    "idx": 0,
    "passage": {
        "text": "Ann has a dog. It is old.",
        "questions": [
            {
                "idx": 0,
                "question": "What is old?",
                "answers": [
                    {"idx": 0, "text": "Ann", "label": 0},
                    {"idx": 1, "text": "The dog", "label": 1},
                ],
            },
            {"idx": 1, "question": "Who has it?", "answers": [{"idx": 2, "text": "Ann", "label": 1}]},
        ],
    },
}
COQA = {
    "data": [
        {
            "id": "s1",
            "story": "Tom sat down.",
            "questions": [{"input_text": "Who sat?", "turn_id": 1}, {"input_text": "Where?", "turn_id": 2}],
            "answers": [{"input_text": "Tom", "turn_id": 1}, {"input_text": "down", "turn_id": 2}],
            "additional_answers": {"0": [{"input_text": "Tom did"}, {"input_text": "unknown"}]},
        }
    ]
}
STORY = (
    "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
    "RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2,AnswerRightEnding\n"
    "x,Al ran.,He fell.,He cried.,Mom came.,She left.,She helped.,2\n"
)
RACE = {
    "article": "A cat sat.",
    "questions": ["What sat?", "Where?"],
    "options": [["A dog.", "A cat.", "A cow.", "A pig."], ["In.", "Out.", "Up.", "Down."]],
    "answers": ["B", "D"],
    "id": "high1.txt",
}
SWAG = {
    "activity_label": "Cutting hair",
    "ctx_a": "A man sits [header] down.",
    "ctx_b": "he",
    "endings": ["flies [title] off.", "waits.", "eats.", "sings."],
    "label": 1,
}

XQUAD = {
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": "Ann sang.",
                    "qas": [{"id": "q", "question": "Who sang?", "answers": [{"text": "Ann", "answer_start": 0}]}],
                }
            ],
        }
    ]
}

TYDIQA = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": f"{name} lauloi.",
                    "qas": [{"id": id, "question": "Kuka lauloi?", "answers": [{"text": name, "answer_start": 0}]}],
                }
            ]
        }
        for id, name in (("arabic-7-0", "Ali"), ("finnish-7-0", "Anna"))
    ]
}

SHOTS = lines(*[exam(f"Which is {number}?", ["A", "B"], "B") for number in range(5)])

_OWN: dict[str, tuple[str, str, str]] = {
    "cb": (
        "superglue/CB/val.jsonl",
        lines({"premise": "It rains.", "hypothesis": "It is dry", "label": "contradiction"}),
        "It rains.\nQuestion: It is dry. True, False, or Neither?\nAnswer: False",
    ),
    "rte": (
        "superglue/RTE/val.jsonl",
        lines({"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"}),
        "It rains.\nQuestion: It is wet. True or False?\nAnswer: True",
    ),
    "wic": (
        "superglue/WiC/val.jsonl",
        lines({"word": "bank", "sentence1": "A bank.", "sentence2": "The bank.", "label": False}),
        "A bank.\nThe bank.\nQuestion: Is the word 'bank' used in the same way in the two sentences above?\nAnswer: no",
    ),
    "multirc": (
        "superglue/MultiRC/val.jsonl",
        lines(MULTIRC),
        "Ann has a dog. It is old.\nQuestion: What is old?\nAnswer: Ann\nIs the answer correct? no",
    ),
    "anli_r2": (
        "anli/R2/test.jsonl",
        lines({"context": "It rains.", "hypothesis": "Ann sings.", "label": "n"}),
        "It rains.\nQuestion: Ann sings. True, False, or Neither?\nAnswer: Neither",
    ),
    "hellaswag": ("hellaswag/hellaswag_val.jsonl", lines(SWAG), "Cutting hair: A man sits down. He waits."),
    "storycloze_2016": (
        "storycloze/cloze_test_test__spring2016 - cloze_test_ALL_test.csv",
        STORY,
        "Al ran. He fell. He cried. Mom came. She helped.",
    ),
    "lambada_openai": ("lambada/lambada_test.jsonl", lines({"text": "She took her old hat"}), "She took her old hat"),
    "lambada_standard": ("lambada/lambada_test_plain_text.txt", "she took her hat\n", "she took her hat"),
    "race_high": ("race/test/high/1.txt", lines(RACE), "Article: A cat sat.\n\nQuestion: What sat?\nAnswer: A cat."),
    "arc_challenge": (
        "arc/ARC-Challenge-Test.jsonl",
        lines(exam("What is hot?", ["Ice", "Snow", "Fire"], "3", "123")),
        "Question: What is hot?\nAnswer: Fire",
    ),
    "openbookqa": (
        "openbookqa/test.jsonl",
        lines(exam("Fire is", ["cold", "hot", "wet", "blue"], "B")),
        "Fire is hot",
    ),
    "coqa": ("coqa/coqa-dev-v1.0.json", json.dumps(COQA), "Tom sat down.\n\nQ: Who sat?\nA: Tom"),
    "xquad_de": ("xquad/xquad.de.json", json.dumps(XQUAD), "Ann sang.\n\nQ: Who sang?\nA: Ann"),
    "tydiqa_goldp_finnish": (
        "tydiqa/tydiqa-goldp-v1.1-dev.json",
        json.dumps(TYDIQA),
        "Anna lauloi.\n\nQ: Kuka lauloi?\nA: Anna",
    ),
    "mgsm_direct_de": ("mgsm/mgsm_de.tsv", "Wie viele?\t1,200\n", "Question: Wie viele?\nAnswer: 1200"),
    "mmlu_anatomy": (
        "mmlu/test/anatomy_test.csv",
        '"Which, of these, beats?",Hand,Heart,Foot,Nose,B\n',
        "Which, of these, beats?\nA. Hand\nB. Heart\nC. Foot\nD. Nose\nAnswer: B",
    ),
    "core_arc_easy": (
        "core/world_knowledge/arc_easy.jsonl",
        lines({"query": "Question: What is hot?", "choices": ["Ice", "Fire"], "gold": 1}),
        "Question: What is hot?\nAnswer: Fire",
    ),
    "core_winograd": (
        "core/language_understanding/winograd_wsc.jsonl",
        lines({"context_options": ["The cup", "The box"], "continuation": "is too big.", "gold": 1}),
        "The box is too big.",
    ),
    "core_jeopardy": (
        "core/world_knowledge/jeopardy_all.jsonl",
        lines({"context": "RIVERS: It crosses Paris ", "continuation": "the Seine", "category": "x"}),
        "RIVERS: It crosses Paris\nAnswer: the Seine",
    ),
    "olmes_arc_challenge_cloze": ("olmes/arc_challenge.jsonl", SHOTS, "Question: What is hot?\nAnswer: Fire"),
    "olmes_arc_challenge_mc": (
        "olmes/arc_challenge.jsonl",
        SHOTS,
        "Question: What is hot?\n A. Ice\n B. Snow\n C. Fire\nAnswer: C",
    ),
    "olmes_hellaswag_cloze": ("olmes/hellaswag.jsonl", lines(SWAG), "Cutting hair: A man sits down. He waits."),
    "olmes_hellaswag_mc": (
        "olmes/hellaswag.jsonl",
        lines(SWAG),
        "Cutting hair: A man sits down. He\nChoose the best continuation:\n"
        " A. flies. off.\n B. waits.\n C. eats.\n D. sings.\nAnswer: B",
    ),
    "olmes_mmlu_anatomy_mc": (
        "mmlu/dev/anatomy_dev.csv",
        '"Which, of these, is first?",Hand,Heart,Foot,Nose,A\n',
        "Question: Which, of these, beats?\n A. Hand\n B. Heart\n C. Foot\n D. Nose\nAnswer: B",
    ),
}
_GPT3 = {
    "cb": "It rains.\nquestion: It is dry. true, false, or neither?\nanswer: false",
    "rte": "It rains.\nquestion: It is wet. True or False?\nanswer: True",
    "wic": "A bank.\nThe bank.\n"
    "question: Is the word 'bank' used in the same way in the two sentences above?\nanswer: no",
    "multirc": "Ann has a dog. It is old.\n\nWhat is old?\n- [False] Ann",
    "anli_r2": "anli 2: anli 2: It rains.\nQuestion: Ann sings. True, False, or Neither?\nAnswer: Neither",
    "race_high": "Article:\nA cat sat.\n\nQ: What sat?\n\nA: A cat.",
    "coqa": "Tom sat down.\n\nQ: Who sat?\n\nA: Tom",
    "lambada_openai": "She took her old ____. -> hat",
}
"""The same examples in GPT-3's forms."""
SETS = _OWN | {f"gpt3_{name}": (*_OWN[name][:2], shown) for name, shown in _GPT3.items()}
"""A file of each set, its content, and the first example as a shot."""


def write(folder: Path) -> None:
    """Writes all sets into a folder."""
    for path, content, _ in SETS.values():
        write_text(folder / path, content)
