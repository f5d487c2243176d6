"""Text as words: what lexical search, spelling and the language check count."""

import re
import threading
from functools import lru_cache

import snowballstemmer

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

# Words of a question that say nothing about its subject. They count neither for nor against an article.
STOPWORDS = frozenset(
    [
        "a",
        "about",
        "am",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "can't",
        "cannot",
        "could",
        "couldn't",
        "did",
        "didn't",
        "do",
        "does",
        "doesn't",
        "doing",
        "don't",
        "for",
        "from",
        "get",
        "got",
        "had",
        "has",
        "have",
        "having",
        "he",
        "hello",
        "help",
        "her",
        "hi",
        "him",
        "his",
        "how",
        "i",
        "i'd",
        "i'll",
        "i'm",
        "i've",
        "if",
        "in",
        "into",
        "is",
        "isn't",
        "it",
        "it's",
        "its",
        "itself",
        "just",
        "know",
        "let",
        "like",
        "made",
        "make",
        "many",
        "may",
        "me",
        "might",
        "mine",
        "much",
        "must",
        "my",
        "need",
        "no",
        "not",
        "of",
        "off",
        "on",
        "or",
        "our",
        "out",
        "please",
        "she",
        "should",
        "so",
        "some",
        "such",
        "tell",
        "than",
        "thank",
        "thanks",
        "that",
        "that's",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "thing",
        "this",
        "those",
        "to",
        "too",
        "us",
        "very",
        "want",
        "was",
        "wasn't",
        "we",
        "were",
        "what",
        "what's",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "won't",
        "would",
        "wouldn't",
        "yes",
        "you",
        "your",
    ]
)

SNOWBALL = {
    "ar": "arabic", "da": "danish", "de": "german", "en": "english", "es": "spanish", "fi": "finnish", "fr": "french",
    "hu": "hungarian", "it": "italian", "nl": "dutch", "no": "norwegian", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sv": "swedish", "tr": "turkish",
}  # fmt: skip

# The commonest small words, by which a short text gives its language away. Words that two of these languages share
# are left out of both.
FUNCTION_WORDS = {
    "en": "the is are how what when where my can you with have does this that why which your it of and to will would",
    "de": "der das ist wie wann wo mein meine kann ich mit haben nicht und ein eine für auf wird bitte warum sie zu"
    " lange nach meiner meinem meinen dauert aus oder wenn den dem des im zum zur viel kostet gibt"
    " möchte möchten will etwas habe hat mich mir zurück zurückgeben umtauschen bestellung bestellt kein keine noch",
    "fr": "le les est comment quand où mon je avec vous pas une pour dans puis-je peut pourquoi quel ma votre avez"
    " des du un sur c'est j'ai combien livraison au veux voudrais quelque chose commande retourner colis merci",
    "es": "el los cómo cuándo dónde mi puedo con una para por qué está mis tengo puede pero cuál cuanto las del"
    " quiero quisiera algo gracias hola",
    "it": "il come quando dove posso con una perché sono mio mia che della gli è ho non nel per quanto vorrei"
    " voglio qualcosa restituire ordine grazie",
    "nl": "het hoe wanneer waar mijn kan ik met een niet voor naar wordt zijn waarom welke heb jullie deze"
    " wil graag iets terug bestelling mij",
    "pt": "os como quando onde meu minha posso com uma não por que está são você para quanto meus tem"
    " quero queria encomenda um obrigado",
    "pl": "jak kiedy gdzie mój moje mogę czy nie jest się dla na dlaczego mam moja proszę chcę zwrócić coś zamówienie",
    "sv": "hur när var min kan jag med inte och att för varför är mitt ett från",
    "da": "hvor hvordan hvornår hvad jeg ikke og det gerne pakken pakke ordre tilbage",
    "tr": "nasıl ne zaman nerede benim bir için değil mi mı var bu kadar",
    "fi": "missä milloin kuinka miten minun tilaukseni paljonko toimitus kiitos voinko haluan haluaisin",
    "cs": "kde kdy kolik můj moje objednávka doprava doručení prosím děkuji jsem mohu chci stojí dobrý",
    "hu": "hol mikor hogyan mennyibe kerül csomagom rendelésem rendelés köszönöm szeretnék szállítás vissza",
    "ro": "unde când cât comanda mea mele livrarea livrare vreau mulțumesc pot doresc costă",
}
# Of these one is enough, in a text without an English one: greetings, and what a shop is asked about.
TELLING_WORDS = {
    "de": "danke guten tschüss grüezi versandkosten versand rücksendung rückgabe lieferung lieferzeit bestellung"
    " öffnungszeiten gutschein rückerstattung umtausch",
    "fr": "bonjour bonsoir merci horaires livraison colis remboursement quels quelles",
    "es": "hola gracias cuánto cuándo envío envíos devolución",
    "it": "grazie buongiorno buonasera spedizione rimborso restituire",
    "pt": "obrigado obrigada olá encomenda devolução",
    "nl": "bedankt goedemorgen goedendag bestelling verzendkosten retourneren",
    "pl": "dziękuję cześć zamówienie zwrot dostawa",
    "sv": "leverans beställning",
    "da": "bestilling",
    "tr": "merhaba teşekkürler sipariş iade",
}
SCRIPTS = (
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
)

_stemmers = threading.local()  # a snowball stemmer keeps state while it works


def words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in WORD.findall(text.lower())]


@lru_cache(maxsize=50_000)
def stem(word: str, language: str = "en") -> str:
    algorithm = SNOWBALL.get(language)
    if algorithm is None:
        return word
    stemmer = getattr(_stemmers, algorithm, None)
    if stemmer is None:
        stemmer = snowballstemmer.stemmer(algorithm)
        setattr(_stemmers, algorithm, stemmer)
    stemmed: str = stemmer.stemWord(word.removesuffix("'s"))
    return stemmed


def terms(text: str, language: str = "en") -> list[str]:
    """The stems of the words that carry the subject."""
    return [stem(word, language) for word in words(text) if word not in STOPWORDS]


def language_of(text: str) -> str | None:
    """The language of a text as a two-letter code, or None where its words do not tell.

    Made to be right when it speaks: a language must be told by two of its small words, or by one that no other has in
    a text without English ones, and no other by as many.
    """
    letters = sum(character.isalpha() for character in text)
    for language, script in SCRIPTS:
        if letters and len(script.findall(text)) > letters / 2:
            return language
    said = set(words(text))
    telling = {} if said & _function_words()["en"] else _telling_words()
    votes = sorted(
        (
            (len(said & small) + 2 * len(said & telling.get(language, frozenset())), language)
            for language, small in _function_words().items()
        ),
        reverse=True,
    )
    if votes[0][0] >= 2 and votes[0][0] > votes[1][0]:
        return votes[0][1]
    return None


@lru_cache(maxsize=1)
def _function_words() -> dict[str, frozenset[str]]:
    return {language: frozenset(line.split()) for language, line in FUNCTION_WORDS.items()}


@lru_cache(maxsize=1)
def _telling_words() -> dict[str, frozenset[str]]:
    return {language: frozenset(line.split()) for language, line in TELLING_WORDS.items()}
