"""Classes of words, and what captions and people say of them."""

from collections import Counter
from itertools import chain
from typing import NamedTuple

# The words of a class mostly exclude each other. Those on a line mean the same, and the first
# stands for them. Words that fit several lines, such as "child" for a boy or a girl, are left out.
_LINES = {
    'person or animal': """
        person people man men woman women boy boys girl girls child children kid kids baby babies\
 toddler guy guys lady ladies player players skateboarder surfer snowboarder skier biker rider\
 climber hiker cyclist bicyclist motorcyclist couple family crowd team someone
        dog dogs puppy puppies greyhound greyhounds terrier retriever poodle
        cat cats kitten kittens
        horse horses pony
        bird birds duck ducks seagull seagulls
        cow cows bull bulls
        sheep lamb goat goats""",
    'man, woman, boy, girl': """
        man men guy guys
        woman women lady ladies
        boy boys
        girl girls""",
    'number': """
        two couple pair both
        three
        four
        five
        group groups several many crowd bunch team""",
    'color': """
        black
        white
        brown tan
        red
        pink
        orange
        yellow
        green
        blue
        purple
        gray grey""",
    'place': """
        water pool lake ocean river sea pond stream
        snow snowy
        beach sand sandy shore
        grass grassy field lawn
        street road sidewalk
        rock rocks rocky cliff mountain mountains""",
    'action': """
        running run runs
        jumping jump jumps leaping leap leaps
        standing stand stands
        sitting sit sits seated
        walking walk walks
        riding ride rides
        climbing climb climbs
        swimming swim swims""",
}

# From each word of a class to the one that stands for it.
WORD_CLASSES = {
    name: {word: line.split()[0] for line in lines.splitlines()[1:] for word in line.split()}
    for name, lines in _LINES.items()
}


class Comparison(NamedTuple):
    """The words of one class in a caption and in what people wrote about its image.

    Attributes:
        said (set of str): Those in the caption.
        named (set of str): Those that any of the people uses.
        agreed (set of str): Those that more than half of the people use.
    """

    said: set
    named: set
    agreed: set

    @property
    def wrong(self):
        return self.said - self.named

    @property
    def missed(self):
        return self.agreed - self.said


def compare(caption, references, words):
    """Compares a caption with those of people.

    Args:
        caption (list of str): Its tokens.
        references (list of list of str): The tokens of the people's captions.
        words (dict): The words of a class of ``WORD_CLASSES``.

    Returns:
        Comparison: The words of the class in both.
    """
    said, *others = (
        {words[token] for token in text if token in words} for text in (caption, *references)
    )
    counts = Counter(chain(*others))
    agreed = {word for word, count in counts.items() if 2 * count > len(references)}
    return Comparison(said, set(counts), agreed)


def compare_people(references, words):
    """Compares each person's caption with those that others wrote about the same image."""
    return [
        compare(caption, of_image[:person] + of_image[person + 1 :], words)
        for of_image in references
        for person, caption in enumerate(of_image)
        if len(of_image) > 1
    ]
