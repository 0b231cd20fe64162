"""The words and sentences of the demo corpus: nouns in three forms, openers and sentence frames in eight languages.

All text was written for this project. A frame says the same thing in every language and needs no agreement with
its noun: predicates do not inflect for gender, no preposition that merges with an article stands before a noun
phrase, and the noun takes one of three stored forms:

- ``{N}``  the bare noun
- ``{D}``  the noun phrase as a subject
- ``{A}``  the noun phrase as a direct object (German accusative, Spanish personal *a* before animals)

``{P}`` is a person's name. Frames are written as they stand inside a sentence, without the capital of a first word.
Portuguese is European throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LANGUAGES = ("en", "es", "pt", "fr", "it", "de", "id", "sw")
CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "animal": ("dog", "cat", "horse", "bird", "rabbit", "cow"),
    "food": ("water", "milk", "bread", "rice", "cheese", "meat"),
    "place": ("school", "church", "market", "city", "river", "bridge"),
    "thing": ("book", "car", "chair", "key", "knife", "mirror"),
}
NAMES = ("Ana", "Daniel", "Emma", "Laura", "Lucas", "Nadia", "Olivia", "Omar")

#: Noun phrases with their definite article, in the order of CATEGORIES. Indonesian and Swahili have no article.
NOUN_PHRASES: Mapping[str, str] = {
    "en": "the dog, the cat, the horse, the bird, the rabbit, the cow, "
    "the water, the milk, the bread, the rice, the cheese, the meat, "
    "the school, the church, the market, the city, the river, the bridge, "
    "the book, the car, the chair, the key, the knife, the mirror",
    "es": "el perro, el gato, el caballo, el pájaro, el conejo, la vaca, "
    "el agua, la leche, el pan, el arroz, el queso, la carne, "
    "la escuela, la iglesia, el mercado, la ciudad, el río, el puente, "
    "el libro, el coche, la silla, la llave, el cuchillo, el espejo",
    "pt": "o cão, o gato, o cavalo, o pássaro, o coelho, a vaca, "
    "a água, o leite, o pão, o arroz, o queijo, a carne, "
    "a escola, a igreja, o mercado, a cidade, o rio, a ponte, "
    "o livro, o carro, a cadeira, a chave, a faca, o espelho",
    "fr": "le chien, le chat, le cheval, l'oiseau, le lapin, la vache, "
    "l'eau, le lait, le pain, le riz, le fromage, la viande, "
    "l'école, l'église, le marché, la ville, la rivière, le pont, "
    "le livre, la voiture, la chaise, la clé, le couteau, le miroir",
    "it": "il cane, il gatto, il cavallo, l'uccello, il coniglio, la mucca, "
    "l'acqua, il latte, il pane, il riso, il formaggio, la carne, "
    "la scuola, la chiesa, il mercato, la città, il fiume, il ponte, "
    "il libro, la macchina, la sedia, la chiave, il coltello, lo specchio",
    "de": "der Hund, die Katze, das Pferd, der Vogel, das Kaninchen, die Kuh, "
    "das Wasser, die Milch, das Brot, der Reis, der Käse, das Fleisch, "
    "die Schule, die Kirche, der Markt, die Stadt, der Fluss, die Brücke, "
    "das Buch, das Auto, der Stuhl, der Schlüssel, das Messer, der Spiegel",
    "id": "anjing, kucing, kuda, burung, kelinci, sapi, "
    "air, susu, roti, nasi, keju, daging, "
    "sekolah, gereja, pasar, kota, sungai, jembatan, "
    "buku, mobil, kursi, kunci, pisau, cermin",
    "sw": "mbwa, paka, farasi, ndege, sungura, ng'ombe, "
    "maji, maziwa, mkate, wali, jibini, nyama, "
    "shule, kanisa, soko, mji, mto, daraja, "
    "kitabu, gari, kiti, ufunguo, kisu, kioo",
}


@dataclass(frozen=True)
class Frame:
    """One sentence with a gap for the noun, in every language.

    Attributes:
        category: The category whose nouns fit, or "any".
        kind: "statement", "question" or "order": which openers may stand before it.
        texts: Language -> sentence with placeholders.
    """

    category: str
    kind: str
    texts: Mapping[str, str]

    @property
    def has_person(self) -> bool:
        """Whether the sentence names a person."""
        return "{P}" in self.texts["en"]


def _frame(category: str, kind: str, texts: str) -> Frame:
    return Frame(category, kind, dict(zip(LANGUAGES, texts.split(" | "), strict=True)))


# In the order of LANGUAGES, parted by " | ".
FRAMES: tuple[Frame, ...] = (
    _frame(
        "any",
        "statement",
        "we have found {A}. | hemos encontrado {A}. | encontrámos {A}. | nous avons trouvé {A}. | "
        "abbiamo trovato {A}. | wir haben {A} gefunden. | kami sudah menemukan {A}. | tumepata {N}.",
    ),
    _frame(
        "any",
        "statement",
        "{P} remembers {A}. | {P} recuerda {A}. | {P} recorda {A}. | {P} se rappelle {A}. | {P} ricorda {A}. | "
        "{P} erinnert sich an {A}. | {P} ingat {A}. | {P} anakumbuka {N}.",
    ),
    _frame(
        "any",
        "statement",
        "{P} describes {A}. | {P} describe {A}. | {P} descreve {A}. | {P} décrit {A}. | {P} descrive {A}. | "
        "{P} beschreibt {A}. | {P} menggambarkan {A}. | {P} anaelezea {N}.",
    ),
    _frame(
        "any",
        "statement",
        "{P} loves {A}. | a {P} le encanta {D}. | {P} adora {A}. | {P} adore {A}. | {P} adora {A}. | "
        "{P} liebt {A}. | {P} sangat menyukai {A}. | {P} anapenda sana {N}.",
    ),
    _frame(
        "any",
        "statement",
        "{D} is in the photo. | {D} aparece en la foto. | {D} aparece na fotografia. | {D} est sur la photo. | "
        "{D} è nella foto. | {D} ist auf dem Foto. | {D} ada di dalam foto. | kwenye picha kuna {N}.",
    ),
    _frame(
        "any",
        "question",
        "where is {D}? | ¿dónde está {D}? | onde está {D}? | où est {D} ? | dov'è {D}? | wo ist {D}? | "
        "di mana {D}? | kuna {N} wapi?",
    ),
    _frame(
        "any",
        "statement",
        'the first word is "{N}". | la primera palabra es "{N}". | a primeira palavra é "{N}". | '
        'le premier mot est "{N}". | la prima parola è "{N}". | das erste Wort ist "{N}". | '
        'kata pertama adalah "{N}". | neno la kwanza ni "{N}".',
    ),
    _frame(
        "any",
        "question",
        'what does "{N}" mean? | ¿qué significa "{N}"? | o que significa "{N}"? | que veut dire "{N}" ? | '
        'che cosa significa "{N}"? | was bedeutet "{N}"? | apa arti "{N}"? | neno "{N}" lina maana gani?',
    ),
    _frame(
        "any",
        "statement",
        "from here I do not see {A}. | desde aquí no veo {A}. | daqui não vejo {A}. | "
        "d'ici, je ne vois pas {A}. | da qui non vedo {A}. | von hier sehe ich {A} nicht. | "
        "dari sini saya tidak melihat {A}. | kutoka hapa sioni {N}.",
    ),
    _frame(
        "any",
        "statement",
        "the girl is drawing {A}. | la niña dibuja {A}. | a menina desenha {A}. | la petite fille dessine {A}. | "
        "la bambina disegna {A}. | das Mädchen zeichnet {A}. | anak perempuan itu menggambar {A}. | "
        "msichana anachora {N}.",
    ),
    _frame(
        "any",
        "statement",
        "the story begins with {A}. | la historia empieza con {D}. | a história começa com {D}. | "
        "l'histoire commence avec {D}. | la storia comincia con {D}. | am Anfang der Geschichte steht {D}. | "
        "cerita itu dimulai dengan {N}. | hadithi inaanza na {N}.",
    ),
    _frame(
        "any",
        "statement",
        "without {A} the story makes no sense. | sin {D} la historia no tiene sentido. | "
        "sem {D} a história não faz sentido. | sans {D}, l'histoire n'a pas de sens. | "
        "senza {D} la storia non ha senso. | ohne {A} ergibt die Geschichte keinen Sinn. | "
        "tanpa {N}, cerita itu tidak masuk akal. | bila {N}, hadithi haina maana.",
    ),
    _frame(
        "animal",
        "statement",
        "{D} is drinking slowly. | {D} bebe despacio. | {D} bebe devagar. | {D} boit lentement. | "
        "{D} beve lentamente. | {D} trinkt langsam. | {D} minum perlahan-lahan. | {N} anakunywa polepole.",
    ),
    _frame(
        "animal",
        "statement",
        "{D} is afraid. | {D} tiene miedo. | {D} tem medo. | {D} a peur. | {D} ha paura. | {D} hat Angst. | "
        "{D} takut. | {N} anaogopa.",
    ),
    _frame(
        "animal",
        "statement",
        "{D} comes into the garden. | {D} entra en el jardín. | {D} entra no jardim. | "
        "{D} entre dans le jardin. | {D} entra in giardino. | {D} kommt in den Garten. | {D} masuk ke kebun. | "
        "{N} anaingia bustanini.",
    ),
    _frame(
        "animal",
        "statement",
        "{D} is waiting for {P}. | {D} espera a {P}. | {D} espera por {P}. | {D} attend {P}. | "
        "{D} aspetta {P}. | {D} wartet auf {P}. | {D} menunggu {P}. | {N} anamngoja {P}.",
    ),
    _frame(
        "animal",
        "statement",
        "{P} is calling {A}. | {P} llama {A}. | {P} chama {A}. | {P} appelle {A}. | {P} chiama {A}. | "
        "{P} ruft {A}. | {P} memanggil {A}. | {P} anamwita {N}.",
    ),
    _frame(
        "animal",
        "statement",
        "{D} is growing fast. | {D} crece rápido. | {D} cresce depressa. | {D} grandit vite. | "
        "{D} cresce in fretta. | {D} wächst schnell. | {D} tumbuh dengan cepat. | {N} anakua haraka.",
    ),
    _frame(
        "food",
        "statement",
        "for dinner we still need {A}. | para la cena nos falta {D}. | para o jantar falta-nos {D}. | "
        "pour le dîner, il nous manque {D}. | per cena ci manca {D}. | zum Abendessen fehlt uns noch {D}. | "
        "untuk makan malam kami masih perlu {N}. | kwa chakula cha jioni tunahitaji {N}.",
    ),
    _frame(
        "food",
        "statement",
        "{P} shares {A} with the neighbours. | {P} comparte {A} con los vecinos. | "
        "{P} partilha {A} com os vizinhos. | {P} partage {A} avec les voisins. | {P} divide {A} con i vicini. | "
        "{P} teilt {A} mit den Nachbarn. | {P} berbagi {N} dengan para tetangga. | {P} anagawana {N} na majirani.",
    ),
    _frame(
        "food",
        "statement",
        "{D} is in the fridge. | {D} está en la nevera. | {D} está no frigorífico. | {D} est dans le frigo. | "
        "{D} è nel frigorifero. | {D} ist im Kühlschrank. | {D} ada di dalam kulkas. | kwenye friji kuna {N}.",
    ),
    _frame(
        "food",
        "statement",
        "{D} tastes good. | {D} sabe bien. | {D} sabe bem. | {D} a bon goût. | {D} ha un buon sapore. | "
        "{D} schmeckt gut. | {D} rasanya enak. | ladha ya {N} ni nzuri.",
    ),
    _frame(
        "food",
        "statement",
        "the waiter brings {A}. | el camarero trae {A}. | o empregado traz {A}. | le serveur apporte {A}. | "
        "il cameriere porta {A}. | der Kellner bringt {A}. | pelayan membawa {N}. | mhudumu analeta {N}.",
    ),
    _frame(
        "food",
        "statement",
        "{P} has ordered {A}. | {P} ha pedido {A}. | {P} pediu {A}. | {P} a commandé {A}. | "
        "{P} ha ordinato {A}. | {P} hat {A} bestellt. | {P} sudah memesan {N}. | {P} ameagiza {N}.",
    ),
    _frame(
        "place",
        "statement",
        "in the north of the island is {D}. | al norte de la isla está {D}. | no norte da ilha fica {D}. | "
        "au nord de l'île se trouve {D}. | a nord dell'isola si trova {D}. | im Norden der Insel liegt {D}. | "
        "di utara pulau itu ada {N}. | kaskazini mwa kisiwa kuna {N}.",
    ),
    _frame(
        "place",
        "statement",
        "from the train we see {A}. | desde el tren vemos {A}. | do comboio vemos {A}. | "
        "du train, nous voyons {A}. | dal treno vediamo {A}. | vom Zug aus sehen wir {A}. | "
        "dari kereta kami melihat {A}. | kutoka kwenye treni tunaona {N}.",
    ),
    _frame(
        "place",
        "statement",
        "{P} cannot find {A}. | {P} no encuentra {A}. | {P} não encontra {A}. | {P} ne trouve pas {A}. | "
        "{P} non trova {A}. | {P} findet {A} nicht. | {P} tidak menemukan {A}. | {P} hawezi kupata {N}.",
    ),
    _frame(
        "place",
        "statement",
        "the guide is showing us {A}. | la guía nos muestra {D}. | a guia mostra-nos {A}. | "
        "la guide nous montre {A}. | la guida ci mostra {A}. | die Reiseleiterin zeigt uns {A}. | "
        "pemandu menunjukkan {N} kepada kami. | kiongozi anatuonyesha {N}.",
    ),
    _frame(
        "place",
        "statement",
        "{D} is very far from here. | {D} está muy lejos de aquí. | {D} fica muito longe daqui. | "
        "{D} est très loin d'ici. | {D} è molto distante da qui. | {D} ist sehr weit von hier. | "
        "{D} sangat jauh dari sini. | kutoka hapa hadi {N} ni mbali sana.",
    ),
    _frame(
        "place",
        "statement",
        "in the morning {P} visits {A}. | por la mañana {P} visita {A}. | de manhã {P} visita {A}. | "
        "le matin, {P} visite {A}. | la mattina {P} visita {A}. | am Morgen besucht {P} {A}. | "
        "pada pagi hari {P} mengunjungi {A}. | asubuhi {P} anatembelea {N}.",
    ),
    _frame(
        "thing",
        "statement",
        "{P} has bought {A}. | {P} ha comprado {A}. | {P} comprou {A}. | {P} a acheté {A}. | "
        "{P} ha comprato {A}. | {P} hat {A} gekauft. | {P} sudah membeli {A}. | {P} amenunua {N}.",
    ),
    _frame(
        "thing",
        "statement",
        "the thief is stealing {A}. | el ladrón roba {A}. | o ladrão rouba {A}. | le voleur vole {A}. | "
        "il ladro ruba {A}. | der Dieb stiehlt {A}. | pencuri itu mencuri {N}. | mwizi anaiba {N}.",
    ),
    _frame(
        "thing",
        "statement",
        "my aunt is selling {A}. | mi tía vende {A}. | a minha tia vende {A}. | ma tante vend {A}. | "
        "mia zia vende {A}. | meine Tante verkauft {A}. | bibi saya menjual {A}. | shangazi yangu anauza {N}.",
    ),
    _frame(
        "thing",
        "order",
        "do not lend {A} to anybody! | ¡no prestes {A} a nadie! | não emprestes {A} a ninguém! | "
        "ne prête {A} à personne ! | non prestare {A} a nessuno! | leih niemandem {A}! | "
        "jangan pinjamkan {A} kepada siapa pun! | usimwazime mtu yeyote {N}!",
    ),
    _frame(
        "thing",
        "statement",
        "{P} is hiding {A}. | {P} esconde {A}. | {P} esconde {A}. | {P} cache {A}. | {P} nasconde {A}. | "
        "{P} versteckt {A}. | {P} menyembunyikan {A}. | {P} anaficha {N}.",
    ),
    _frame(
        "thing",
        "statement",
        "{D} costs too much. | {D} cuesta demasiado. | {D} custa demasiado. | {D} coûte trop cher. | "
        "{D} costa troppo. | {D} kostet zu viel. | {D} terlalu mahal. | bei ya {N} ni kubwa mno.",
    ),
)

_OPENER_WORDS: Mapping[str, tuple[str, ...]] = {
    "statement": (
        "Yes, | Sí, | Sim, | Oui, | Sì, | Ja, | Ya, | Ndiyo,",
        "Listen: | Escucha: | Ouve: | Écoute : | Ascolta: | Hör zu: | Dengar: | Sikiliza:",
        "It is true: | Es verdad: | É verdade: | C'est vrai : | È vero: | Es stimmt: | Memang benar: | Ni kweli:",
        "I repeat: | Repito: | Repito: | Je répète : | Ripeto: | Ich wiederhole: | Saya ulangi: | Narudia:",
    ),
    "question": (
        "Tell me: | Dime: | Diz-me: | Dis-moi : | Dimmi: | Sag mal: | Beri tahu saya: | Niambie:",
        "One question: | Una pregunta: | Uma pergunta: | Une question : | Una domanda: | Eine Frage: | "
        "Satu pertanyaan: | Swali moja:",
        "Excuse me, | Perdona, | Desculpa, | Excuse-moi, | Scusa, | Entschuldigung, | Permisi, | Samahani,",
        "I ask again: | Pregunto otra vez: | Pergunto outra vez: | Je demande encore une fois : | Chiedo di nuovo: | "
        "Ich frage noch einmal: | Saya bertanya lagi: | Nauliza tena:",
    ),
    "order": (
        "Please: | Por favor: | Por favor: | S'il te plaît : | Per favore: | Bitte: | Tolong: | Tafadhali:",
        "Listen: | Escucha: | Ouve: | Écoute : | Ascolta: | Hör zu: | Dengar: | Sikiliza:",
        "Once more: | Otra vez: | Mais uma vez: | Encore une fois : | Ancora una volta: | Noch einmal: | "
        "Sekali lagi: | Mara nyingine:",
        "One last thing: | Una última cosa: | Uma última coisa: | Une dernière chose : | Un'ultima cosa: | "
        "Noch etwas: | Satu hal lagi: | Jambo la mwisho:",
    ),
}

#: What may stand before a frame, by its kind; the first of each is nothing.
OPENERS: Mapping[str, tuple[Mapping[str, str], ...]] = {
    kind: (
        dict.fromkeys(LANGUAGES, ""),
        *(dict(zip(LANGUAGES, words.split(" | "), strict=True)) for words in openers),
    )
    for kind, openers in _OPENER_WORDS.items()
}
