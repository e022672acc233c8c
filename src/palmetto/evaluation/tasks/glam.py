"""GLaM's 29 tasks (arXiv 2112.06905), in its seven categories, which the tasks themselves name."""

TASKS = (
    *("triviaqa", "nq_open", "webqs"),
    *("lambada_openai", "hellaswag", "storycloze_2016"),
    *("wsc273", "winogrande"),
    *("piqa", "arc_easy", "arc_challenge", "openbookqa"),
    *("drop", "coqa", "quac", "squadv2", "race_high", "race_middle"),
    *("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc"),
    *("anli_r1", "anli_r2", "anli_r3"),
)
