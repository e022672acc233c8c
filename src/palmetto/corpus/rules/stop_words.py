"""Lists a few words per language that occur in any text of some length; other languages have no such rule.

English: Gopher's (arXiv 2112.11446, appendix A.1.1). The others: each language's most frequent function words; for
Japanese and Chinese, single characters.
"""

STOP_WORDS = {
    language: tuple(words.split())
    for language, words in {
        "en": "the be to of and that have with",
        "de": "der die das und in zu den ist nicht mit von ein auf",
        "fr": "le la les de des et à un une que en est pour dans",
        "es": "de la que el en y a los las un una por con",
        "it": "di che e la il un a per in una non sono del",
        "pt": "de a o que e do da em um uma para não com",
        "ro": "de și în a la cu pe care din nu o un",
        "ca": "de la que i el a en els les un una amb per",
        "nl": "de het een van en in is dat op te met niet",
        "sv": "och att det i en som är på av för den med",
        "da": "og at det i en er på af for den til der",
        "no": "og å det i en er på av for den til som",
        "fi": "ja on ei se että oli hän ne kun niin mutta",
        "et": "ja on ei see et ta oli kui ka oma",
        "hu": "a az és hogy nem is egy ez volt meg",
        "pl": "i w na z nie się do że to jest o",
        "cs": "a v na se že je to s z do i",
        "sk": "a v na sa že je to s z do aj",
        "sl": "in v je na se da za ki so z",
        "hr": "i u je na se da za su od s",
        "lt": "ir kad į yra su iš tai ne o",
        "lv": "un ir ka no ar uz par bet tas",
        "tr": "ve bir bu da de için ile çok ne",
        "id": "yang dan di itu dengan untuk ini dari dalam tidak",
        "ms": "yang dan di itu dengan untuk ini dari dalam tidak",
        "vi": "và của là có không được cho một các trong",
        "sw": "na ya wa kwa ni katika la za kuwa",
        "ru": "и в не на что с он как по это я а",
        "uk": "і в не на що з він як та у до й",
        "be": "і ў не на што з ён як па да у",
        "bg": "и на да се в не за от с е",
        "sr": "и у је на се да за су од не i u je na se da za su od ne",
        "mk": "и на да се во не за од со е",
        "el": "και το να του η της με που την από ο",
        "he": "את של על לא הוא כי עם זה אל",
        "ar": "في من على أن إلى لا ما هذا التي عن",
        "fa": "و در به از که این را با است آن",
        "ur": "کے کی میں ہے اور کا سے نے کو",
        "hi": "के है में की का और से को पर ने",
        "bn": "এই ও করে না এবং একটি হয় তার থেকে",
        "ja": "の に は を た が で て と し",
        "zh": "的 一 是 在 不 了 有 和 人 这 這 為 为",
    }.items()
}
