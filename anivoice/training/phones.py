"""The phones that the content encoder is trained on: the 39 of CMU's dictionary, and silence."""

SILENCE = "SIL"
UNKNOWN = "?"
"""A sound that is none of them, or not known: it counts neither as right nor as wrong."""

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
STOPS = ("P", "T", "K", "B", "D", "G")
FRICATIVES = ("F", "TH", "S", "SH", "HH", "V", "DH", "Z", "ZH", "CH", "JH")
SONORANTS = ("M", "N", "NG", "L", "R", "W", "Y")
PHONES = (SILENCE, *VOWELS, *STOPS, *FRICATIVES, *SONORANTS)
PHONE_CLASSES = {
    "silence": (SILENCE,),
    "vowels": VOWELS,
    "stops": STOPS,
    "fricatives": FRICATIVES,
    "sonorants": SONORANTS,
}
"""For reports: which sounds an encoder mixes up."""

INDEX_OF_PHONE = {phone: index for index, phone in enumerate(PHONES)}
