"""Sentences in the own tongues of voices that speak text only, put together at random, and their phones as ours.

A sentence has a subject, a verb, mostly an object, and often where and when. Catalan is written with words that have no
accents, because festival reads it in another encoding than that of its script.
"""

import random
from dataclasses import dataclass

from anivoice.training.phones import SILENCE, UNKNOWN
from training.corpus.phone_maps import Parts


@dataclass(frozen=True)
class Tongue:
    """A language: phrases separated by commas, the voice's phones as ours (UNKNOWN: none is near), prefix of ids."""

    prefix: str
    times: str
    subjects: str
    verbs: str
    objects: str
    places: str
    phones: dict[str, Parts]


CATALAN = Tongue(
    prefix="ca",
    times="avui,ara,sempre,sovint,de nit,cada vespre,cada dia,aquest mes,abans de dinar,tot l'estiu,al migdia,un dia,"
    "de sobte,els dijous,els dilluns,a poc a poc,per fi,quan plou,quan neva,a les set,a les nou,tot l'any,encara,"
    "a la tarda,massa tard,ben aviat,a primera hora,aquesta setmana",
    subjects="el gat negre,el gos,el meu pare,la mare,el fill gran,la filla petita,el meu amic,la meva amiga,el mestre,"
    "la noia,el noi ros,el metge,la dona del forn,el pescador,la pagesa,el cavall blanc,la vaca,el jutge,el sabater,"
    "el rei,la reina,un home vell,una dona jove,el veterinari,la cantant,el pintor,l'avi,la tieta,la cosina,"
    "la gent del poble,el caixer,el forner,un xicot alt,la bruixa,el gegant,el llop,la guineu,l'ocell groc,"
    "el director,la jutgessa,el fuster,el cuiner savi,el jove jardiner,l'alcalde,la noia de Girona,en Jordi,en Joan,"
    "la Montse,la Carme,en Xavier,la Laia,en Guillem",
    verbs="mira,busca,troba,compra,porta,obre,tanca,veu,escolta,menja,pinta,renta,guarda,toca,deixa,coneix,demana,"
    "ensenya,llegeix,perd,agafa,amaga,talla,canta,dibuixa,neteja,oblida,espera,vol,regala,trenca,crema,bufa,tira,"
    "explica,empeny,serveix,pesa,cull,fuig de,parla de,riu de,somia,rep,envia,paga,ven,desitja,vigila,segueix",
    objects="el llibre vell,la taula,la porta,una poma vermella,les taronges,el formatge,el peix,un got d'aigua,"
    "el foc,una carta llarga,la lluna,les sabates noves,el barret,el cotxe groc,un full de paper,la roba bruta,"
    "les claus de casa,el pa amb oli,la sopa,vint ous,quatre cadires,un ram de roses,el jersei verd,la feina,"
    "una guitarra,el rellotge,la bandera,els ulls,les mans,el mapa,un xai,la llet,les fulles,el vi negre,cinc euros,"
    "el regal,un bolet,la xocolata,els pastissos,la caixa buida,les joguines,la bicicleta,el matalas,un ganivet,"
    "les cireres,el raim,la finestra,una flor blava,el fum,la pluja,la mantega,un quilo de figues",
    places="al mercat,a la platja,al bosc,a la sala,a la cuina,al carrer,dalt de la muntanya,prop del riu,sota el pont,"
    "a casa,al poble,al castell,a la ciutat,davant de l'escola,darrere la porta,al costat del mar,entre els arbres,"
    "a la feina,sobre la taula,al tren,al moll,dins la cova,fora de la vila,al camp,al teatre,a Vic,a Reus,a Tarragona",
    phones={
        "pau": (SILENCE,), "_": (SILENCE,), "#": (SILENCE,), "ax": ("AH",), "E": ("EH",), "E1": ("EH",), "i": ("IY",),
        "i1": ("IY",), "O": ("AO",), "O1": ("AO",), "u": ("UW",), "u1": ("UW",), "S": ("SH",), "Z": ("ZH",),
        "rr": ("R",), **{name: (name.upper(),) for name in "ptkfszmnlr"},
        **dict.fromkeys("a a1 e e1 o o1 j w b d g J L".split(), (UNKNOWN,)),
    },
)  # fmt: skip
"""b, d and g are fricatives between vowels, a lies between AA and AE, j and w are mostly ends of diphthongs."""
RUSSIAN = Tongue(
    prefix="ru",
    times="сегодня,вчера,иногда,каждый вечер,рано утром,поздно ночью,теперь,однажды,зимой,летом,весной,осенью,всегда,"
    "в субботу,в четверг,медленно,быстро,очень тихо,громко,опять,снова,уже давно,скоро,на рассвете,после обеда,"
    "вдруг,без причины,с радостью",
    subjects="мой брат,моя сестра,старый доктор,молодая учительница,наш сосед,рыжий кот,большая собака,мальчик,девочка,"
    "хозяин дома,бабушка,дедушка,инженер,художник,певица,солдат,капитан,рыбак,умная женщина,весёлый человек,"
    "чёрный ворон,хитрая лиса,жадный волк,белый медведь,мой друг,моя подруга,директор школы,повар,почтальон,"
    "усталый шофёр,царь,княгиня,продавец,студент,профессор физики,наш гость,маленький заяц,кузнец,мельник,тётя,дядя,"
    "этот господин,каждый ребёнок,никто,кто-то,Иван,Ольга,Николай,Татьяна,Сергей,Женя",
    verbs="видит,знает,любит,покупает,читает,пишет,ищет,находит,держит,помнит,рисует,слушает,приносит,забывает,моет,"
    "готовит,ест,бросает,открывает,закрывает,прячет,хочет,понимает,показывает,строит,продаёт,теряет,ждёт,чинит,"
    "считает,обещает,встречает,зовёт,охраняет,рубит,варит,режет,носит,везёт,ведёт,собирает,ломает,жжёт,шьёт,чистит,"
    "хвалит,ругает,провожает",
    objects="молоко и хлеб,новую книгу,длинное письмо,красную шапку,зелёное яблоко,тёплый суп,синее платье,свою шубу,"
    "старые часы,чужие деньги,большой дом,широкую реку,железный ключ,горячий чай,свежую рыбу,золотое кольцо,газету,"
    "карту города,песню,сказку,зимнее пальто,жёлтый цветок,чёрный зонт,деревянный стол,стул,лошадь,корзину грибов,"
    "сладкий пирог,хорошую погоду,море,тишину,жену,мужа,гостей,птицу,щенка,вишнёвый сад,лодку,нож и вилку,сахар,"
    "каждую вещь,твой голос,лестницу,шёлковую рубашку,пустой ящик,кирпичную стену,музыку,живую воду,школу,площадь",
    places="на большом рынке,в лесу,у реки,за домом,в старом городе,на вокзале,под мостом,на кухне,в саду,дома,"
    "около школы,на площади,в деревне,у окна,на берегу моря,в поезде,за столом,на чердаке,в Москве,на юге,"
    "в библиотеке,перед зеркалом,на крыше,в глубокой яме,между деревьями,над облаками,в театре,на улице",
    phones={
        "pau": (SILENCE,), "ii": ("IY",), "uu": ("UW",), "u": ("UW",), "ur": ("UH",), "oo": ("AO",), "c": ("T", "S"),
        "sch": ("SH",), "j": ("Y",),
        **{name: (name.upper(),) for name in "p b t d k g f v s z ch sh zh m n l r".split()},
        **{2 * name: (name.upper(),) for name in "pbkgsz"},
        **dict.fromkeys("a aa ae ay e ee i y yy tt dd ff vv h hh mm nn ll rr".split(), (UNKNOWN,)),
    },
)  # fmt: skip
"""Two letters: stressed vowels and palatalised consonants, which mostly are none of ours."""


def sentences(tongue: Tongue, count: int) -> dict[str, str]:
    """Different sentences by id (`ca0001`...), the same each time."""
    generator = random.Random(tongue.prefix)  # noqa: S311
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[_sentence(tongue, generator)] = None
    return {f"{tongue.prefix}{number:04d}": text for number, text in enumerate(texts, 1)}


def _sentence(tongue: Tongue, generator: random.Random) -> str:
    def one_of(phrases: str) -> str:
        return generator.choice(phrases.split(","))

    words = [one_of(tongue.subjects), one_of(tongue.verbs), one_of(tongue.objects)]
    if generator.random() < 0.6:
        words.append(one_of(tongue.places))
    if generator.random() < 0.5:
        words.insert(0, one_of(tongue.times))
    text = " ".join(words)
    return text[0].upper() + text[1:] + generator.choice("...?")
