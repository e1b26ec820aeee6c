"""Names from card statements, reduced to the words that tell two of them apart."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Prefixes of payment processors; the merchant's name follows. `SP ` is Shop Pay's.
_PROCESSOR = re.compile(
    r"(?:(?:paypal|pp|ppl|sqr?|sp|fs|fsprg|paddle(?:\.net)?|2co(?:\.com)?|2checkout(?:\.com)?|stripe"
    r"|tst|cko|dri|py|in|ls|wl|bls?|lemsqzy|eig|ebn|xsolla|adyen|mollie|gumroad|zettle|sumup|klarna)"
    r"\s*\*|sp\s|zettle_|sumup\s)\s*"
)
# Google bills for itself and for sellers in its shop, so the name is read with it and without.
_SHOP = re.compile(r"google\s*\*\s*")
_NUMBERED = re.compile(r"([a-z]{3})(\d{4,})")
_WORD = re.compile(r"[^\W_]+")

# Words that may follow a name and still mean the same merchant.
_LEGAL = """inc incorporated llc ltd limited corp corporation co company gmbh ag sa sas sarl srl sro
    bv nv oy ou ab aps plc pty pte pbc kk sl slu ug dba technologies labs software"""
_DOMAIN = "com io so us app dev net org ai me ly www http https"
_PLAN = """plan plans pro plus team teams business premium basic standard starter professional
    enterprise annual annually yearly monthly month year subscription subscr sub subs seat seats
    user users license licenses membership renewal invoice inv charge bill billing payment fee
    online usage api credits"""
_STATES = """al ak az ar ca ct dc de fl ga hi id il ia ks ky la ma md mi mn ms mo mt nc nd ne nh nj
    nm nv ny oh ok or pa ri sc sd tn tx ut va vt wa wi wv wy on bc qc nsw vic"""
_COUNTRIES = """usa uk gb gbr ie irl ireland de deu germany fr fra france nl nld lu lux ch che es
    esp spain se swe sweden ee est cz cze au aus australia canada can sg sgp singapore il isr israel
    in ind india emea europe intl international"""
_CITIES = """dublin london sydney berlin amsterdam paris barcelona madrid stockholm tallinn
    copenhagen helsinki zurich geneva munich muenchen hamburg koeln vienna prague praha luxembourg
    toronto vancouver montreal seattle boston austin chicago denver portland atlanta oakland
    cambridge sf nyc brooklyn bellevue pleasanton melbourne bangalore"""
_NOISE = frozenset(" ".join([_LEGAL, _DOMAIN, _PLAN, _STATES, _COUNTRIES, _CITIES]).split())
_LONG_CITIES = frozenset(
    [
        *("hong kong", "jersey city", "los angeles", "menlo park", "mountain view", "new york"),
        *("palo alto", "redwood city", "salt lake", "san diego", "san francisco", "san jose"),
        *("san mateo", "santa clara", "santa monica", "south san", "tel aviv"),
    ]
)
# Beside a known name, these words say that the merchant is a place or a shop, not software.
_PLACES = """airport antiques arena bakery bar barber barbers bbq bistro books brewery brewpub
    cafe camp cantina center centre church cinema clinic club coffee cruise dance deli diner
    factory farm fitness florist flowers furniture garage garden gift golf grill gym hostel
    hotel house inn jeweller jewellery jewelry juice kiosk kitchen lodge lounge mall marina
    market motel museum nail park parking pets pizza pizzeria pub restaurant ristorante room
    salon school shoes shop shopping spa stadium stand station steakhouse storage store stores
    street studio sushi tan taqueria taxi theatre tickets tour tower toys yoga zoo"""
PLACES = frozenset(_PLACES.split())


def words(text: str) -> list[str]:
    """Lower-case words without accents or punctuation: "Café-Nº 1" → cafe, no, 1."""
    return _WORD.findall(_folded(text))


def plain(text: str) -> str:
    """The words without blanks: two spellings of one name agree in it."""
    return "".join(words(text))


def readings(raw_name: str) -> list[list[str]]:
    """Each way to read a merchant's name, as words without a processor's prefix; likeliest first.

    `VENDOR*DETAIL` is also read as the vendor alone.
    """
    text = _folded(raw_name).strip()
    texts = [text]
    if prefix := _PROCESSOR.match(text):
        texts = [text[prefix.end() :]]
    elif prefix := _SHOP.match(text):
        texts = [text, text[prefix.end() :]]
    elif "*" in text:
        texts = [text, text.partition("*")[0]]
    ways = [_WORD.findall(_NUMBERED.sub(r"\1 \2", text)) for text in texts]
    return [way for way in ways if way]


def shortened(name: list[str]) -> Iterator[list[str]]:
    """The name, then ever shorter ones, without the numbers, places, plans and forms at its end."""
    yield name
    while len(name) > 1:
        if len(name) > 2 and " ".join(name[-2:]) in _LONG_CITIES:
            name = name[:-2]
        elif name[-1] in _NOISE or any(c.isdigit() for c in name[-1]) or len(name[-1]) == 1:
            name = name[:-1]
        else:
            return
        yield name


def person_key(name: str) -> tuple[str, ...]:
    """A person's names sorted, without initials beside two: "Smith, John A." → john, smith."""
    names = sorted(words(name))
    whole = [word for word in names if len(word) > 1 or word.isdigit()]
    return tuple(whole if len(whole) > 1 else names)


def _folded(text: str) -> str:
    text = text.replace("'", "").replace("’", "")
    if text.isascii():  # nearly all are, and have no accents
        return text.casefold()
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()
