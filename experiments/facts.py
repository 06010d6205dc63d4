"""Plain facts about the world, as statements that a model of English can judge: where cities lie, what
Spanish words mean, what kind of animal something is; each said and denied, rightly and wrongly.

Wrong statements take the value of another thing of their topic, so that every value stands in as many true
statements as false ones and no word alone tells which they are.
"""

import numpy as np
import pandas as pd

CITIES = """
Portugal: Lisbon, Porto; Spain: Madrid, Seville, Valencia; France: Lyon, Marseille, Toulouse
Germany: Munich, Hamburg, Cologne, Leipzig; Austria: Vienna, Salzburg; Switzerland: Zurich, Geneva
Italy: Milan, Naples, Turin, Bologna; Greece: Athens; Poland: Warsaw, Krakow; Hungary: Budapest
Norway: Oslo, Bergen; Sweden: Stockholm, Gothenburg; Denmark: Copenhagen; Ireland: Dublin, Cork
England: Manchester, Liverpool; Russia: Moscow; Turkey: Istanbul, Ankara; Egypt: Cairo, Alexandria
Kenya: Nairobi, Mombasa; Nigeria: Lagos, Abuja; Iran: Tehran, Isfahan; India: Mumbai, Chennai, Kolkata
Pakistan: Lahore, Karachi; Thailand: Bangkok; Vietnam: Hanoi; China: Beijing, Shanghai; South Korea: Seoul
Japan: Osaka, Kyoto, Nagoya; Australia: Sydney, Melbourne, Perth; Canada: Toronto, Montreal, Vancouver
the United States: Chicago, Boston, Houston, Denver; Peru: Lima; Chile: Santiago; Cuba: Havana
Mexico: Monterrey, Tijuana; Brazil: Recife, Salvador; Argentina: Rosario, Mendoza
"""
WORDS = """
cat: gato; dog: perro; house: casa; water: agua; book: libro; milk: leche; table: mesa; door: puerta
night: noche; sun: sol; moon: luna; fire: fuego; earth: tierra; hand: mano; eye: ojo; friend: amigo
brother: hermano; sister: hermana; mother: madre; father: padre; son: hijo; daughter: hija; king: rey
queen: reina; flower: flor; apple: manzana; cheese: queso; bread: pan; meat: carne; wine: vino; city: ciudad
street: calle; bridge: puente; church: iglesia; school: escuela; money: dinero; time: tiempo; work: trabajo
war: guerra; peace: paz; green: verde; red: rojo; blue: azul; black: negro; white: blanco; old: viejo
new: nuevo; three: tres; five: cinco; seven: siete; eight: ocho; Monday: lunes; Friday: viernes
"""
ANIMALS = """
mammal: dog, horse, whale, tiger, elephant, rabbit, monkey, dolphin, wolf, bear, squirrel, goat
bird: eagle, sparrow, penguin, parrot, robin, crow, swan, pigeon, falcon, duck
fish: salmon, shark, trout, herring, sardine, carp, cod, mackerel
insect: butterfly, beetle, mosquito, bee, moth, grasshopper, wasp, cricket
reptile: snake, lizard, crocodile, tortoise, iguana, gecko, alligator
"""
SAID = {
    "cities": (CITIES, "The city of {thing} is{no} in {value}."),
    "words": (WORDS, "The Spanish word '{thing}' {means} '{value}'."),
    "animals": (ANIMALS, "{a_thing} is{no} {a_value}."),
}


def facts(topics: tuple[str, ...] = tuple(SAID), seed: int = 0) -> pd.DataFrame:
    """Four statements a thing: said and denied, of its own value and of another's; columns `statement`,
    `label` (1: true), `entity`, `topic` and `negated`. Raises ValueError for a topic there is not.
    """
    unknown = [t for t in topics if t not in SAID]
    if unknown:
        raise ValueError(f"no topic {unknown[0]!r}; there are {', '.join(SAID)}")
    rows = []
    for topic in topics:
        listed, form = SAID[topic]
        known = _read(listed)
        for (thing, own), other in zip(known, _others([v for _, v in known], seed), strict=True):
            for value, negated in ((own, 0), (other, 0), (own, 1), (other, 1)):
                label = int((value == own) != bool(negated))
                rows.append((_said(form, thing, value, negated), label, thing, topic, negated))
    return pd.DataFrame(rows, columns=["statement", "label", "entity", "topic", "negated"])


def facts_in_pairs(topics: tuple[str, ...] = tuple(SAID), seed: int = 0) -> pd.DataFrame:
    """The same statements with a column `pair`, which joins each with its denial: of the two one is true."""
    table = facts(topics, seed)
    of_four = np.arange(len(table))
    return table.assign(pair=2 * (of_four // 4) + of_four % 2)


def _read(listed: str) -> list[tuple[str, str]]:
    """Things and their values."""
    entries = [e.split(":") for line in listed.strip().splitlines() for e in line.split(";")]
    return [(thing.strip(), value.strip()) for value, things in entries for thing in things.split(",")]


def _others(values: list[str], seed: int) -> list[str]:
    """For each thing the value of another, every value as often as it is there: turned round by the number
    of things of the commonest value, so that nothing meets its own.
    """
    rng = np.random.default_rng(seed)
    names, code, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(rng.permutation(len(names))[code] * len(values) + rng.permutation(len(values)))
    turned = np.empty(len(values), dtype=object)
    turned[order] = np.array(values, dtype=object)[np.roll(order, counts.max())]
    return turned.tolist()


def _said(form: str, thing: str, value: str, negated: int) -> str:
    words = {"thing": thing, "value": value, "no": " not" if negated else ""}
    words["means"] = "does not mean" if negated else "means"
    words["a_thing"], words["a_value"] = (f"{_article(w)} {w}" for w in (thing, value))
    words["a_thing"] = words["a_thing"].capitalize()
    return form.format(**words)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
