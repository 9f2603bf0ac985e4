"""Whether a text is in a language that MiniLM hardly reads, by its script, its function words and its word pieces.

MiniLM was trained on English. A text counts as another language by the first rule that applies: half as many letters
of another script as Latin ones; more function words of another language than of English; no word that only English has,
and few words that are word pieces as a whole. ``docs/limits.md`` has the measured shares.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from similarity.encoders.tokens import tokenizer

_CHARACTERS = 1_500  # that decide
_LATIN_END = "\u0250"  # first letter behind the Latin blocks
_PER_LATIN = 0.5  # letters of another script, per Latin letter
_LEAST_WORDS = 4  # of four letters, for the rule of pieces
_KNOWN = 0.4  # share of words that are a piece of their own
_LEAST_SHARE = 0.08  # of a language's function words among all words
_WORD = re.compile(r"[^\W\d_]+")
_NO_WORD = re.compile(r"https?://\S+|[@#]\w+|\S*_\S*")  # addresses, names of users, hashtags, identifiers
_ACCENTED = re.compile(r"[\u00a1\u00bf-\u024f\u1e00-\u1eff]")

# Scripts that are used for one language mainly; the others are named as scripts.
_LANGUAGE_OF_SCRIPT: Final = {
    "ARMENIAN": "Armenian", "BENGALI": "Bengali", "CJK": "Chinese", "ETHIOPIC": "Amharic", "GEORGIAN": "Georgian",
    "GREEK": "Greek", "GUJARATI": "Gujarati", "GURMUKHI": "Punjabi", "HANGUL": "Korean", "HEBREW": "Hebrew",
    "HIRAGANA": "Japanese", "KANNADA": "Kannada", "KATAKANA": "Japanese", "KHMER": "Khmer", "LAO": "Lao",
    "MALAYALAM": "Malayalam", "MYANMAR": "Burmese", "SINHALA": "Sinhala", "TAMIL": "Tamil", "TELUGU": "Telugu",
    "THAI": "Thai",
}  # fmt: skip
_JAPANESE = ("HIRAGANA", "KATAKANA")  # Japanese has Chinese characters, too

# Frequent function words. The first language wins where two have as many in a text. Words that English has too ("in",
# "is") count for neither side.
_FUNCTION_WORDS: Final = {
    "Spanish": "el los las una de que no es por para con como más pero su sus este esta muy son fue del al se lo "
    "yo un en la ya está si mi hay me te qué todo cuando porque sobre también ser han",
    "Portuguese": "os as um uma de que não é para com por mais como mas ao dos das no na em foi são você eu isso "
    "esta este pela pelo nos nas se meu minha muito ser tem da do já está quando ele ela também só "
    "vai pra né",
    "French": "le les des une est et dans que qui pas pour sur avec plus ce cette sont mais ou il elle je vous "
    "nous du la de un au aux ne se par en ses son sa été être fait ils on comme tout même leur",
    "German": "der die das und ist nicht ich ein eine mit von auf für dem den sich auch wie aber oder sie wir es "
    "im zu bei nach aus werden hat wird sind einen einer dass als an um war noch nur so man haben ihr "
    "du mir mich zum zur mal",
    "Italian": "il lo gli una di che non per con sono della del anche come ma più questo questa nel alla dei "
    "delle si la le un in da al è stato suo sua mi nella dal",
    "Dutch": "het een van niet dat zijn met voor op ook maar naar bij dit deze die wat er ik je zij werd worden "
    "heeft te de en in is of aan om uit als door hun wordt hebben kan nog was over tot",
    "Polish": "się na nie jest że do to jak ale czy za od są był była było tak dla po oraz ich może który które "
    "przez ze jego tym tego co by ma już być także",
    "Turkish": "ve bir bu için ile da de çok ama daha gibi olarak olan ne var değil kadar sonra her mi en olduğu "
    "olduğunu oldu bunu tarafından ilk veya ise",
    "Vietnamese": "và của là không một các có được cho trong người với này đã những để khi đến từ như tôi bạn ở "
    "nhiều họ ra vào hay sẽ trên về cũng nhưng cách số năm theo thể rất đó tại nó hơn phải bị",
    "Indonesian": "yang dan di ini itu untuk dengan tidak dari dalam akan pada juga ke karena ada oleh saya kami "
    "adalah bisa sudah mereka para atau sebagai lebih telah dapat bahwa seperti anda tersebut",
    "Swedish": "och det är inte av på till som jag vi har med ett han hon men eller också blev kan ska vara från "
    "den för en de om att man under över efter sig hade vid mot när där alla andra mycket detta bara "
    "sedan denna deras var nu",
    "Danish": "og det er ikke af på til som jeg vi har med der et han hun men eller også blev kan skal være fra "
    "den en de for at om man under over efter sig havde ved mod når hvor alle andre meget dette kun "
    "deres var mange blevet",
    "Norwegian": "og det er ikke av på til som jeg vi har med et han hun men eller også ble kan skal være fra den "
    "en de for at om man under over etter seg hadde ved mot når hvor alle andre mye dette bare deres "
    "var mange blitt",
    "Finnish": "ja on ei se että oli mutta kun niin myös ovat mitä tämä hän joka jos vain kuin sen minä olla "
    "jotka voi tai sitä ne mukaan hänen kanssa jälkeen kuten olivat",
    "Czech": "je se na že si jsem jsou jako ale nebo který která které není byl byla bylo pro při jak když také "
    "už od ve do to za po ze by aby jeho jejich byly ještě více mezi bude mohou tak protože",
    "Slovak": "je sa na že si som sú ako ale alebo ktorý ktorá ktoré nie bol bola bolo pre pri keď tiež už od vo "
    "aj do to za po zo by aby jeho ich boli ešte viac medzi bude môže môžu tak pretože však",
    "Romanian": "și si să sa nu este un la cu pe care din de în in mai sunt pentru ca că dar ce fost lui ale au "
    "fi am se această acest sau le prin cum",
    "Hungarian": "a is az és hogy nem egy volt van meg csak ez azt ki már de mint kell vagy még amely voltak "
    "lehet el ezt akkor után között által minden",
    "Croatian": "je se na da su za od koji koja koje nije što kao ili ali sam bio bila biti kako već samo ovo "
    "više iz sa do te ne bi će kada oko nakon može",
    "Afrikaans": "die nie het vir dat wat hulle ek jy sy ons baie hierdie sal kan moet maar oor deur ook daar met "
    "van om te by as is in en so my jou word se was aan na op toe",
    "Swahili": "na ya wa kwa ni za katika la kuwa hii hiyo kama ambayo watu lakini pia yake wake hivyo kwenye cha "
    "vya",
    "Tagalog": "ang ng sa na mga ay at ko mo niya ito hindi kung para siya isang kanyang",
    "Hausa": "da na ta ya ba ne ce wannan kuma su ga domin cikin zuwa sai shi ita wani mai kan yana suna daga",
    "Yoruba": "ti ni àwọn sí tí wọn kan fún láti gbogbo náà pé bí jẹ́ sì nínú àti wọ́n ìyẹn yìí ṣe bá",
    "Catalan": "els les una amb per que és del dels aquest aquesta també però més són va ser com al no el la de",
    "Estonian": "ja on ei et see oli mis kui ka oma aga nii siis kes mida veel või ning seda olid",
    "Latvian": "un ir no par ar ka bija tas kas nav pie lai arī vai bet kā uz viņa gan tika",
    "Lithuanian": "ir yra kad su kaip buvo tai bet iš ar už ne apie tik jo jos per nuo taip",
}  # fmt: skip
_ENGLISH: Final = frozenset(
    """
    a about after all also am an and any are as at be because been but by can could did do does for from get had has
    have he her him his how i if in into is it its just like me more my no not of on one or our out over she should so
    some than that the their them then there these they this those to too up us was we were what when where which while
    who why will with would you your
    """.split()
)


def _languages_of_words() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for language, words in _FUNCTION_WORDS.items():
        for word in words.split():
            found.setdefault(word, set()).add(language)
    return {word: frozenset(languages) for word, languages in found.items()}


_LANGUAGES = _languages_of_words()
_ALL = frozenset(_FUNCTION_WORDS)
_ONLY_ENGLISH = _ENGLISH - _LANGUAGES.keys() - {"a", "i"}


def foreign_language(text: str) -> str | None:
    """What a text seems to be, such as ``Korean`` or ``in Cyrillic script``; None for English."""
    start = unicodedata.normalize("NFKC", text[:_CHARACTERS])
    return _by_script(start) or _by_words(start)


def _by_script(text: str) -> str | None:
    if text.isascii():
        return None
    letters = [character for character in text if character.isalpha()]
    others = [character for character in letters if character >= _LATIN_END]
    if not others or len(others) < _PER_LATIN * (len(letters) - len(others)):
        return None
    scripts = Counter(unicodedata.name(character, "?").split()[0].split("-")[0] for character in others)
    if any(scripts[script] for script in _JAPANESE):
        return "Japanese"
    ((script, _),) = scripts.most_common(1)
    return _LANGUAGE_OF_SCRIPT.get(script, f"in {script.capitalize()} script")


def _by_words(text: str) -> str | None:
    words = _WORD.findall(_NO_WORD.sub(" ", text))
    own, english = Counter[str](), Counter[str]()
    for word in map(str.casefold, words):
        languages = _LANGUAGES.get(word, frozenset())
        if word not in _ENGLISH:
            own.update(languages)
        else:
            english.update(_ALL - languages)
    most, accented = max(own.values(), default=0), bool(_ACCENTED.search(text))
    least = max(1 if accented else 2, _LEAST_SHARE * len(words))
    language = next((name for name in _FUNCTION_WORDS if own[name] == most), "")
    if most >= least and most > english[language]:
        return language
    return None if any(word in _ONLY_ENGLISH for word in map(str.casefold, words)) else _by_pieces(words)


def _by_pieces(words: Sequence[str]) -> str | None:
    """From the share of different words that are no pieces of their own; names and ``camelCase`` do not count."""
    known = [
        tokenizer().token_to_id(word) is not None for word in dict.fromkeys(words) if len(word) >= 4 and word.islower()
    ]
    return "in another language" if len(known) >= _LEAST_WORDS and sum(known) < _KNOWN * len(known) else None
