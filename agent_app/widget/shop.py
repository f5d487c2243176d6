"""What the demo shop sells and is asked. Its facts agree with the sample articles, so that the chat can answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    name: str
    about: str
    price: str
    image: str  # below static/agent_app/shop/
    question: str  # what a customer would ask about it; an article answers it


PRODUCTS = (
    Product("Slieve down jacket", "850-fill down, 410 g", "€249", "down-jacket.svg", "How do I wash my down jacket?"),
    Product(
        "Atlantic shell", "Three-layer waterproof", "€289", "shell-jacket.svg", "How do I wash a waterproof jacket?"
    ),
    Product("Burren hiking boot", "Nubuck, can be resoled", "€219", "boots.svg", "How should hiking boots fit?"),
    Product("Lough tent for two", "1.9 kg, up in five minutes", "€379", "tent.svg", "How do I clean my tent?"),
    Product("Galtee 38 backpack", "Ventilated back, 1.3 kg", "€159", "backpack.svg", "What does the warranty cover?"),
    Product(
        "Kerry −7 °C sleeping bag", "Treated down, 980 g", "€329", "sleeping-bag.svg", "Which sleeping bag is right?"
    ),
    Product("Claddagh stove set", "With 1-litre pot, 340 g", "€79", "stove.svg", "Can you send gas canisters?"),
    Product("Aran wool beanie", "Knitted in Galway", "€35", "beanie.svg", "Do you offer gift wrapping?"),
)

QUESTIONS = (
    "Where is my order?",
    "How can I return something?",
    "How long does delivery take?",
    "I forgot my password",
)

# The help pages that the demo page lists, of those that there are.
HELP = (
    *("delivery-times-and-costs", "returns", "track-order", "payment-methods"),
    *("size-guide", "warranty", "opening-hours", "stores"),
)

# Who one can be on the demo page, while its back end is open, and what she would ask.
ANA = {"sub": "C-1001", "name": "Ana Costa", "email": "ana@example.com"}
ANA_ASKS = (
    "Where is my order 1042?",
    "Cancel order 1050",
    "Is the wool beanie in stock?",
    "What do I owe you?",
)
