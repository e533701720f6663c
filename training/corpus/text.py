"""Sentences to be spoken: sayings of `fortunes-min` and a small grammar, chosen for rare pairs of phones."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

FORTUNES_DIR = Path("/usr/share/games/fortunes")
FORTUNE_NAMES = ("fortunes", "literature", "riddles")
MIN_WORDS, MAX_WORDS = 4, 13
NUM_CANDIDATES = 24
"""Sentences made for each that is kept: the one with the rarest pairs of phones."""

RARE_WEIGHT = {"OY": 6.0, "ZH": 8.0, "TH": 4.0, "UH": 4.0, "CH": 2.0, "JH": 2.0, "AW": 2.0, "Y": 1.5, "NG": 1.5}
LEXICON_WORDS_SHARE = 0.35
"""Share of sentences that are lists of dictionary words, where no grammar limits the pairs."""

Lexicon = dict[str, tuple[str, ...]]

NAMES = "Joyce Roy George Beth Arthur Judith Theo Hugh Jean Ruth Joan Charles Keith Sheila Yuri Zoe Owen Floyd".split()
NOUNS = (
    "boy toy voice choice oyster coin boiler measure treasure garage vision mirage pleasure collision moth path thumb "
    "tooth breath bath earth month thief wolf bush hook cushion butcher sugar pudding book foot house mouse cloud owl "
    "flower mountain crown judge bridge jungle jacket magic church chair peach witch kitchen yacht yard yellow onion "
    "king ring song finger tongue shadow ship dish ocean fashion zebra zoo puzzle prison rose vase glove river van "
    "valley day table cake train eye kite light pipe sheep tree leaf key boat coat stone road moon spoon fruit glue "
    "dog frog ball law cat apple bag map bed head bell pen pig fish hill bird girl nurse word father car heart star"
).split()
VERBS = (
    "enjoys destroys joins avoids measures treasures thanks throws thinks breathes teaches watches touches chooses "
    "judges manages pushes pulls looks cooks shook took yawns yields uses brings sings hangs thanks wishes washes "
    "shows shares catches fetches loses raises visits gives leaves loves saves finds found shouts counts makes takes "
    "paints hides rides likes sees keeps reads goes knows holds moves proves draws calls has grabs gets sells picks"
).split()
ADJECTIVES = (
    "noisy royal loyal moist unusual casual beige thirty thick thin healthy filthy smooth northern wooden crooked "
    "good full brown loud proud round strange huge gentle large rich cheap Dutch young useful yellow strong long "
    "young wrong shiny fresh foreign lazy easy cosy busy heavy vague lively brave grey pale great bright white tiny "
    "green deep clean old cold slow low blue new cool small tall soft odd bad sad black fat red wet dead big thick"
).split()
ADVERBS = (
    "today there now slowly usually thoroughly joyfully again away outside together tomorrow with pleasure".split()
)
PLACES = (
    "by the garage|under the bridge|in the south|on the thirteenth|near the church|at the foot of the hill|"
    "through the youth club|around the house|behind the azure door|over there|before the match".split("|")
)
TEMPLATES = (
    "the {a} {n} {v} the {a} {n}",
    "{N} {v} a {n} {p}",
    "why does the {n} of {N} look so {a}",
    "{N} and {N} said that the {n} {v} {d}",
    "each {n} {v} its {a} {n} {d}",
    "there is a {a} {n} {p}, but no {n}",
    "if {N} {v} the {n}, who {v} the {a} {n}",
    "I heard that your {n} {v} {N} {p}",
    "the {n}, the {n} and the {a} {n} are {p}",
    "was it {N} or {N} who had the {a} {n}",
)


def read_lexicon(path: Path) -> Lexicon:
    """CMU's dictionary as pocketsphinx ships it: word -> phones of its first pronunciation, words of letters only."""
    lexicon: Lexicon = {}
    for line in path.read_text("utf-8").splitlines():
        word, *phones = line.split()
        if re.fullmatch(r"[a-z']+", word) and word not in lexicon:
            lexicon[word] = tuple(phones)
    return lexicon


def words_of(sentence: str) -> list[str]:
    return re.findall(r"[a-z']+", sentence.lower())


def phones_of(sentence: str, lexicon: Lexicon) -> list[str] | None:
    """None where a word is not in the dictionary."""
    words = words_of(sentence)
    if not all(word in lexicon for word in words):
        return None
    return [phone for word in words for phone in lexicon[word]]


def fortunes(lexicon: Lexicon, directory: Path = FORTUNES_DIR) -> list[str]:
    """Sentences of the fortunes with every word in the dictionary, sorted."""
    found = set()
    for name in FORTUNE_NAMES:
        for saying in (directory / name).read_text("utf-8").split("\n%\n"):
            for sentence in re.split(r"(?<=[.!?])\s+", " ".join(saying.split())):
                is_plain = re.fullmatch(r"[A-Za-z',; ]+[.!?]+", sentence) is not None
                if is_plain and MIN_WORDS <= len(words_of(sentence)) <= MAX_WORDS:
                    found.add(sentence.rstrip(".!?") + ".")
    return [sentence for sentence in sorted(found) if phones_of(sentence, lexicon)]


def grammar_sentence(generator: random.Random) -> str:
    """One sentence of a template with words drawn for its places."""
    template = generator.choice(TEMPLATES)
    slots = {"a": ADJECTIVES, "n": NOUNS, "v": VERBS, "N": NAMES, "d": ADVERBS, "p": PLACES}
    text = re.sub(r"\{(\w)\}", lambda match: generator.choice(slots[match[1]]), template)
    return text[0].upper() + text[1:] + "."


def word_list(generator: random.Random, words: Sequence[str]) -> str:
    """Four to seven dictionary words, read as a list."""
    chosen = generator.sample(words, generator.randint(4, 7))
    text = ", ".join([" ".join(chosen[:2]), " ".join(chosen[2:])])
    return text[0].upper() + text[1:] + "."


def _candidates(generator: random.Random, lexicon: Lexicon, common: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    while True:
        is_list = generator.random() < LEXICON_WORDS_SHARE
        text = word_list(generator, common) if is_list else grammar_sentence(generator)
        phones = phones_of(text, lexicon)
        if phones is not None:
            yield text, phones


def _rarity(phones: Sequence[str], counts: Counter[tuple[str, str]]) -> float:
    """Mean over the pairs of how little each has been heard, rare phones weighted up."""
    pairs = list(pairwise(phones))
    return sum(RARE_WEIGHT.get(second, 1.0) / (1 + counts[first, second]) for first, second in pairs) / len(pairs)


def sentences(lexicon: Lexicon, num_sentences: int, seed: int, fortunes_dir: Path = FORTUNES_DIR) -> list[str]:
    """Exactly `num_sentences` different sentences, the same for the same seed, in random order."""
    generator = random.Random(seed)  # noqa: S311
    chosen = fortunes(lexicon, fortunes_dir)[: num_sentences // 3]
    counts: Counter[tuple[str, str]] = Counter()
    for text in chosen:
        phones = phones_of(text, lexicon) or []
        counts.update(pairwise(phones))
    common = [word for word, phones in lexicon.items() if "'" not in word and 2 <= len(phones) <= 9]
    source = _candidates(generator, lexicon, common)
    kept = dict.fromkeys(chosen)
    while len(kept) < num_sentences:
        text, phones = max((next(source) for _ in range(NUM_CANDIDATES)), key=lambda made: _rarity(made[1], counts))
        counts.update(pairwise(phones))
        kept[text] = None
    texts = list(kept)
    generator.shuffle(texts)
    return texts
